//! Spans → one OTLP request, in protobuf.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;

use super::span::{Kind, Link, Place, Span, Value};

/// Of the semantic conventions that the attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";
/// Behind the service's name, for the spans of workers.
const WORKER_SUFFIX: &str = "-worker";

/// Whose spans these are.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: Arc<str>,
    /// This process among its like.
    pub(super) instance: Arc<str>,
}

/// Writes a request: the gateway's spans and the workers' are of two services.
pub(super) fn request(spans: Vec<Span>, service: &Service) -> ExportTraceServiceRequest {
    let (gateway, worker): (Vec<Span>, Vec<Span>) =
        spans.into_iter().partition(|span| span.place == Place::Gateway);
    let groups = [(gateway, Place::Gateway), (worker, Place::Worker)];
    let resource_spans = groups
        .into_iter()
        .filter(|(spans, _)| !spans.is_empty())
        .map(|(spans, place)| proto::ResourceSpans {
            resource: Some(resource(service, place)),
            scope_spans: vec![proto::ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "penstock".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: spans.into_iter().map(span).collect(),
                schema_url: SCHEMA_URL.to_owned(),
            }],
            schema_url: SCHEMA_URL.to_owned(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

fn resource(service: &Service, place: Place) -> Resource {
    let text = |key, text: String| attribute((key, Value::from(text)));
    let attributes = match place {
        Place::Gateway => vec![
            text("service.name", service.name.to_string()),
            text("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            text("service.instance.id", service.instance.to_string()),
        ],
        Place::Worker => vec![
            text("service.name", format!("{}{WORKER_SUFFIX}", service.name)),
            text("cloud.provider", "aws".to_owned()),
            text("cloud.platform", "aws_lambda".to_owned()),
        ],
    };
    Resource { attributes, ..Resource::default() }
}

fn span(span: Span) -> proto::Span {
    let kind = match span.kind {
        Kind::Internal => proto::span::SpanKind::Internal,
        Kind::Server => proto::span::SpanKind::Server,
        Kind::Client => proto::span::SpanKind::Client,
    };
    let status = span
        .is_error
        .then(|| proto::Status { code: proto::status::StatusCode::Error.into(), message: String::new() });
    proto::Span {
        trace_id: span.trace.to_bytes().into(),
        span_id: span.id.to_bytes().into(),
        trace_state: span.state.map(|state| state.to_string()).unwrap_or_default(),
        parent_span_id: span.parent.map(|parent| parent.to_bytes().into()).unwrap_or_default(),
        flags: flags(span.parent_is_remote),
        name: span.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.time.start,
        end_time_unix_nano: span.time.end,
        attributes: span.attributes.into_iter().map(attribute).collect(),
        links: span.links.into_iter().map(link).collect(),
        dropped_links_count: span.links_left_out,
        status,
        ..proto::Span::default()
    }
}

fn link(link: Link) -> proto::span::Link {
    proto::span::Link {
        trace_id: link.trace.to_bytes().into(),
        span_id: link.span.to_bytes().into(),
        attributes: link.attributes.into_iter().map(attribute).collect(),
        flags: flags(false),
        ..proto::span::Link::default()
    }
}

/// Sampled, and whether the parent is another process's.
fn flags(is_remote: bool) -> u32 {
    const SAMPLED: u32 = 1;
    const REMOTE_IS_KNOWN: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    SAMPLED | REMOTE_IS_KNOWN | if is_remote { IS_REMOTE } else { 0 }
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
        Value::Shared(text) => any_value::Value::StringValue(text.to_string()),
        Value::Integer(number) => any_value::Value::IntValue(number),
        Value::Number(number) => any_value::Value::DoubleValue(number),
        Value::Flag(flag) => any_value::Value::BoolValue(flag),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
