//! The trace of one request: what travels with it, and its span once it is answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use smallvec::SmallVec;

use super::context::{SpanId, TraceContext, TraceId};
use super::span::{Kind, Link, Place, Span, Value, WallClock};
use super::tracer::Tracer;
use crate::http::RequestRecord;

/// Batches that a request's span links to, at most; a request of thousands of items rides on more.
const MAX_BATCHES: usize = 128;
/// Longest path in a span, bytes.
const MAX_PATH_BYTES: usize = 256;

/// The trace that a request belongs to. Clones share it.
#[derive(Clone, Debug)]
pub struct RequestTrace {
    context: TraceContext,
    recording: Option<Arc<Recording>>,
}

/// What is kept of a request whose span will be exported.
#[derive(Debug)]
pub(super) struct Recording {
    tracer: Tracer,
    parent: Option<SpanId>,
    batches: Mutex<Batches>,
}

#[derive(Debug, Default)]
struct Batches {
    spans: SmallVec<[(TraceId, SpanId); 1]>,
    left_out: u32,
}

/// What the HTTP side knows of a request that is over.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnd<'a> {
    /// The route, with placeholders.
    pub route: &'static str,
    /// The path as it came.
    pub path: &'a str,
    /// Head read.
    pub start: Instant,
    /// Answer handed over, or the client gone.
    pub end: Instant,
    /// Figures; of a client that left, without a status.
    pub record: RequestRecord<'a>,
    /// The client left.
    pub is_cancelled: bool,
}

impl Recording {
    pub(super) fn new(tracer: Tracer, parent: Option<SpanId>) -> Self {
        Self { tracer, parent, batches: Mutex::default() }
    }

    pub(super) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// The request rides on a batch.
    pub(super) fn rides_on(&self, trace: TraceId, span: SpanId) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.spans.len() < MAX_BATCHES {
            batches.spans.push((trace, span));
        } else {
            batches.left_out += 1;
        }
    }
}

impl RequestTrace {
    pub(super) fn new(context: TraceContext, recording: Option<Recording>) -> Self {
        Self { context, recording: recording.map(Arc::new) }
    }

    /// A trace that is not recorded here: others may have begun it, and go on with it.
    #[must_use]
    pub fn passed_on(context: TraceContext) -> Self {
        Self { context, recording: None }
    }

    /// Names the trace, for logs and callers.
    #[must_use]
    pub fn id(&self) -> TraceId {
        self.context.trace
    }

    /// The request's span; the caller's if it is only passed on.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Whether its span will be exported.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    pub(super) fn recording(&self) -> Option<&Arc<Recording>> {
        self.recording.as_ref()
    }

    /// The request is over: its span goes to the exporter, if it is recorded.
    pub fn ended(self, end: &RequestEnd<'_>) {
        let Some(recording) = self.recording else { return };
        let batches = std::mem::take(&mut *recording.batches.lock().unwrap_or_else(PoisonError::into_inner));
        let link = |&(trace, span): &(TraceId, SpanId)| Link { trace, span, attributes: Vec::new() };
        let span = Span {
            trace: self.context.trace,
            id: self.context.span,
            parent: recording.parent,
            parent_is_remote: recording.parent.is_some(),
            state: self.context.state,
            name: format!("POST {}", end.route).into(),
            kind: Kind::Server,
            place: Place::Gateway,
            time: WallClock::now().interval(end.start, end.end),
            attributes: attributes(end),
            links: batches.spans.iter().map(link).collect(),
            links_left_out: batches.left_out,
            is_error: !end.is_cancelled && end.record.status >= 500,
        };
        recording.tracer.finish(span);
    }
}

fn attributes(end: &RequestEnd<'_>) -> Vec<(&'static str, Value)> {
    let record = &end.record;
    let path = &end.path[..end.path.floor_char_boundary(MAX_PATH_BYTES)];
    let mut attributes = Vec::with_capacity(16);
    let mut put = |key, value| attributes.push((key, value));
    put("http.request.method", "POST".into());
    put("http.route", end.route.into());
    put("url.path", path.to_owned().into());
    put("url.scheme", "http".into());
    if end.is_cancelled {
        put("penstock.outcome", "cancelled".into());
    } else {
        put("penstock.outcome", record.code.into());
        put("http.response.status_code", Value::Integer(record.status.into()));
        if record.status >= 500 {
            put("error.type", record.code.into());
        }
    }
    if let Some(model) = record.model {
        put("penstock.model", model.to_owned().into());
    }
    if record.items > 0 {
        put("penstock.items", Value::Integer(record.items.into()));
    }
    if let Some(receipt) = &record.receipt {
        put("penstock.queue_wait_us", Value::micros(receipt.queue_wait));
        put("penstock.invoke_us", Value::micros(receipt.invoke));
        put("penstock.compute_us", Value::micros(receipt.compute));
        put("penstock.gateway_us", Value::micros(record.overhead().unwrap_or_default()));
        put("penstock.cost_usd", Value::Number(receipt.cost_usd));
        put("penstock.batch_items", Value::Integer(receipt.batch_items.into()));
        put("penstock.cold", receipt.cold.into());
    }
    attributes
}
