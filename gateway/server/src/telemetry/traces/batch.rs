//! The trace of one batch: its context, which travels to the worker, and its spans once it has an outcome.
//!
//! A batch of one request is a child of that request's span. One of several has no common parent: it begins a trace of its own, with links to
//! the spans of its requests, which link back. Each attempt is a batch. Deliberately absent: any influence on what is invoked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_contract::{Mebibytes, RequestId};
use gateway_invoker::Metering;
use gateway_policy::Dispatch;
use workers_protocol::WorkerSpan;

use super::context::{SpanId, TraceContext, TraceId};
use super::request::RequestTrace;
use super::span::{Kind, Link, Place, Span, Value, WallClock};
use super::tracer::Tracer;
use super::worker::worker_spans;
use crate::telemetry::model::close_label;

/// Requests that a batch's span links to, at most.
const MAX_LINKS: usize = 1024;

/// The trace of a batch on its way.
#[derive(Debug)]
pub(crate) struct BatchTrace {
    context: TraceContext,
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    tracer: Tracer,
    parent: Option<SpanId>,
    links: Vec<Link>,
    links_left_out: u32,
    requests: u32,
    start: Instant,
}

/// A request's part in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rider<'a> {
    pub(crate) request: RequestId,
    pub(crate) items: u32,
    pub(crate) trace: Option<&'a RequestTrace>,
}

/// What came of a batch.
#[derive(Clone, Debug)]
pub(crate) struct BatchEnd<'a> {
    pub(crate) dispatch: &'a Dispatch,
    pub(crate) model: &'a str,
    pub(crate) function: &'a Arc<str>,
    /// As in the metrics.
    pub(crate) outcome: &'static str,
    /// `None`: nothing ran, or nobody knows.
    pub(crate) metering: Option<Metering>,
    pub(crate) cost_usd: f64,
    pub(crate) cold: bool,
    /// The call of Lambda, from the encoded request to the answer.
    pub(crate) invoked: (Instant, Instant),
    /// Lambda's name of the invocation.
    pub(crate) request_id: Option<&'a str>,
    /// Version that ran.
    pub(crate) version: Option<&'a str>,
    pub(crate) worker: Option<WorkerTold>,
}

/// What the worker said of its time.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerTold {
    /// Wall time of the handler.
    pub(crate) handler: Duration,
    /// From process start to ready, if this invocation started the sandbox.
    pub(crate) init: Option<Duration>,
    pub(crate) spans: Vec<WorkerSpan>,
    pub(crate) spans_left_out: u32,
    pub(crate) process_restarts: u32,
}

impl BatchTrace {
    /// The trace of a batch of these parts, which leaves now.
    pub(crate) fn begin<'a>(riders: impl Iterator<Item = Rider<'a>> + Clone) -> Self {
        let (mut requests, mut last) = (0, None);
        let mut recording: Option<Box<Recording>> = None;
        for rider in riders.clone() {
            if last.replace(rider.request) == Some(rider.request) {
                continue;
            }
            requests += 1;
            if let Some((trace, recorded)) = rider.trace.and_then(|trace| Some((trace, trace.recording()?))) {
                let recording = recording.get_or_insert_with(|| Recording::new(recorded.tracer()));
                recording.link(trace.context(), rider.items);
            }
        }
        let only = riders.clone().next().filter(|_| requests == 1).and_then(|rider| rider.trace);
        let context = match (only.map(RequestTrace::context), &mut recording) {
            (Some(only), Some(recording)) => {
                recording.parent = Some(only.span);
                TraceContext { span: SpanId::random(), ..only.clone() }
            }
            (Some(only), None) => only.clone(),
            (None, recording) => TraceContext {
                trace: TraceId::random(),
                span: SpanId::random(),
                is_sampled: recording.is_some(),
                state: None,
            },
        };
        if let Some(recording) = &mut recording {
            recording.requests = requests;
            let recorded = riders.filter_map(|rider| rider.trace?.recording());
            recorded.for_each(|request| request.rides_on(context.trace, context.span));
        }
        Self { context, recording }
    }

    /// The batch's span.
    pub(crate) fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Whether its spans will be exported.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// The batch has its outcome: its spans go to the exporter, if it is recorded.
    pub(crate) fn ended(self, end: BatchEnd<'_>) {
        let Self { context, recording } = self;
        let Some(recording) = recording else { return };
        let Recording { tracer, parent, links, links_left_out, requests, start } = *recording;
        let clock = WallClock::now();
        let is_error = is_failure(end.outcome);
        let base = Span {
            trace: context.trace,
            id: context.span,
            parent,
            parent_is_remote: false,
            state: context.state,
            name: "batch".into(),
            kind: Kind::Internal,
            place: Place::Gateway,
            time: clock.interval(start, Instant::now()),
            attributes: batch_attributes(&end, requests),
            links,
            links_left_out,
            is_error,
        };
        let invocation = Span {
            id: SpanId::random(),
            parent: Some(base.id),
            name: "Lambda/Invoke".into(),
            kind: Kind::Client,
            time: clock.interval(end.invoked.0, end.invoked.1),
            attributes: invocation_attributes(&end),
            links: Vec::new(),
            links_left_out: 0,
            ..base.clone()
        };
        if let Some(told) = &end.worker {
            worker_spans(told, &invocation, end.function).into_iter().for_each(|span| tracer.finish(span));
        }
        tracer.finish(invocation);
        tracer.finish(base);
    }
}

impl Recording {
    fn new(tracer: &Tracer) -> Box<Self> {
        let (tracer, start) = (tracer.clone(), Instant::now());
        Box::new(Self { tracer, parent: None, links: Vec::new(), links_left_out: 0, requests: 0, start })
    }

    fn link(&mut self, request: &TraceContext, items: u32) {
        if self.links.len() >= MAX_LINKS {
            self.links_left_out += 1;
            return;
        }
        let attributes = vec![("penstock.items", Value::Integer(items.into()))];
        self.links.push(Link { trace: request.trace, span: request.span, attributes });
    }
}

/// Items may have failed of a `partial` batch; the batch did what it should.
fn is_failure(outcome: &str) -> bool {
    !matches!(outcome, "ok" | "partial")
}

fn batch_attributes(end: &BatchEnd<'_>, requests: u32) -> Vec<(&'static str, Value)> {
    let dispatch = end.dispatch;
    let mut attributes = vec![
        ("penstock.model", end.model.to_owned().into()),
        ("penstock.outcome", end.outcome.into()),
        ("penstock.batch", Value::count(dispatch.batch.0)),
        ("penstock.requests", Value::Integer(requests.into())),
        ("penstock.items", Value::Integer(dispatch.items.into())),
        ("penstock.close_reason", close_label(dispatch.reason).into()),
        ("penstock.attempt", Value::Integer(dispatch.attempt.into())),
        ("penstock.plan_revision", Value::count(dispatch.revision.0)),
        ("penstock.cost_usd", Value::Number(end.cost_usd)),
    ];
    attributes.extend(dispatch.parent.map(|parent| ("penstock.parent_batch", Value::count(parent.0))));
    attributes.extend(dispatch.is_canary.then_some(("penstock.canary", true.into())));
    attributes.extend(dispatch.is_hold_out.then_some(("penstock.hold_out", true.into())));
    attributes
}

fn invocation_attributes(end: &BatchEnd<'_>) -> Vec<(&'static str, Value)> {
    let dispatch = end.dispatch;
    let metering = end.metering.unwrap_or_default();
    let memory = metering.memory.unwrap_or(dispatch.memory_mib);
    let mut attributes = Vec::with_capacity(18);
    let mut put = |key, value| attributes.push((key, value));
    put("rpc.system", "aws-api".into());
    put("rpc.service", "Lambda".into());
    put("rpc.method", "Invoke".into());
    put("faas.invoked_provider", "aws".into());
    put("faas.invoked_name", Value::Shared(end.function.clone()));
    put("faas.coldstart", end.cold.into());
    put("faas.max_memory", Value::count(u64::from(memory.0) << 20)); // bytes, as the convention asks
    put("penstock.memory_mib", Value::Integer(memory.0.into()));
    put("penstock.alias", Value::Shared(dispatch.qualifier.clone()));
    put("penstock.process_count", Value::Integer(dispatch.process_count.into()));
    put("penstock.outcome", end.outcome.into());
    if let Some(id) = end.request_id {
        put("faas.invocation_id", id.to_owned().into());
    }
    if let Some(version) = end.version {
        put("faas.version", version.to_owned().into());
    }
    if is_failure(end.outcome) {
        put("error.type", end.outcome.into());
    }
    if end.metering.is_some() {
        put("penstock.billed_ms", Value::count(metering.billed.as_millis()));
        put("penstock.billed_is_estimate", metering.is_estimate.into());
        put("penstock.cost_usd", Value::Number(end.cost_usd));
    }
    if let Some(init) = metering.init {
        put("penstock.init_us", Value::micros(init));
    }
    if let Some(Mebibytes(used)) = metering.max_memory_used {
        put("penstock.max_memory_used_mib", Value::Integer(used.into()));
    }
    attributes
}
