//! A collector of traces: OTLP over HTTP, decoded with the published messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Message;
use prost::Message as _;
use tokio::net::TcpListener;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// All but so many.
    Rejects(i64),
    /// With this status, and `Retry-After: 0`.
    Refuses(u16),
    /// After this time.
    Slow(Duration),
}

/// A collector and what it took.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    mood: Arc<Mutex<Mood>>,
}

/// A span as it came.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) message: Message,
}

impl Collector {
    /// As if it listened there.
    pub(crate) fn at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    pub(crate) async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            spans: Arc::default(),
            heads: Arc::default(),
            mood: Arc::new(Mutex::new(mood)),
        };
        let routes = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        collector
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    pub(crate) fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.message.name == name).collect()
    }

    pub(crate) fn only(&self, name: &str) -> Span {
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "spans `{name}`: {spans:?}");
        spans.remove(0)
    }

    /// Headers of the requests that came.
    pub(crate) fn heads(&self) -> Vec<HeaderMap> {
        self.heads.lock().unwrap().clone()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Response {
    let mood = *collector.mood.lock().unwrap();
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP in protobuf");
    collector.heads.lock().unwrap().push(headers);
    let rejected_spans = match mood {
        Mood::Takes => 0,
        Mood::Rejects(spans) => spans,
        Mood::Refuses(status) => {
            return (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, "0")]).into_response();
        }
        Mood::Slow(time) => {
            tokio::time::sleep(time).await;
            0
        }
    };
    collector.spans.lock().unwrap().extend(spans(request));
    let partial_success = ExportTracePartialSuccess { rejected_spans, error_message: String::new() };
    ExportTraceServiceResponse { partial_success: Some(partial_success) }.encode_to_vec().into_response()
}

impl Span {
    pub(crate) fn trace(&self) -> String {
        hex(&self.message.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.message.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.message.parent_span_id)
    }

    /// Trace and span of each link.
    pub(crate) fn links(&self) -> Vec<(String, String)> {
        self.message.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect()
    }

    /// Trace and span.
    pub(crate) fn name(&self) -> (String, String) {
        (self.trace(), self.id())
    }

    pub(crate) fn is_error(&self) -> bool {
        self.message.status.as_ref().is_some_and(|status| status.code == 2)
    }

    /// Whether another span's time holds this one's.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let (this, other) = (&self.message, &other.message);
        other.start_time_unix_nano <= this.start_time_unix_nano
            && this.start_time_unix_nano <= this.end_time_unix_nano
            && this.end_time_unix_nano <= other.end_time_unix_nano
    }

    pub(crate) fn milliseconds(&self) -> f64 {
        (self.message.end_time_unix_nano - self.message.start_time_unix_nano) as f64 / 1e6
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let service = texts(&resource.resource.unwrap().attributes).remove("service.name").unwrap();
        for message in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span { service: service.clone(), attributes: texts(&message.attributes), message });
        }
    }
    spans
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
