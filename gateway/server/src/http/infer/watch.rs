//! Follows one request for statistics, telemetry and its trace, however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use crate::http::errors::Code;
use crate::http::{HttpTelemetry, RequestRecord};
use crate::inference::Receipt;
use crate::registry::ServedModel;
use crate::telemetry::traces::{RequestEnd, RequestTrace, Tracer};

/// Names the trace of an answer, for who wants to look it up.
const PENSTOCK_TRACE_ID: HeaderName = HeaderName::from_static("penstock-trace-id");

/// The times of a request. Dropped before an end is told, it reports a cancellation: the client left.
pub(in crate::http) struct Watch<'t> {
    telemetry: &'t dyn HttpTelemetry,
    head: &'t Parts,
    route: &'static str,
    model: Option<Arc<ServedModel>>,
    trace: Option<RequestTrace>,
    start: Instant,
    decoded: Option<Instant>,
    answered: Option<Instant>,
    items: u32,
    receipt: Option<Receipt>,
    ended: bool,
}

impl<'t> Watch<'t> {
    pub(in crate::http) fn start(
        telemetry: &'t dyn HttpTelemetry,
        tracer: &Tracer,
        head: &'t Parts,
        route: &'static str,
    ) -> Self {
        let start = Instant::now();
        Self {
            telemetry,
            head,
            route,
            model: None,
            trace: tracer.begin(&head.headers),
            start,
            decoded: None,
            answered: None,
            items: 0,
            receipt: None,
            ended: false,
        }
    }

    pub(in crate::http) fn model(&mut self, model: Arc<ServedModel>) {
        self.model = Some(model);
    }

    /// The trace, to travel with the request.
    pub(in crate::http) fn trace(&self) -> Option<RequestTrace> {
        self.trace.clone()
    }

    /// The request is read, checked, and about to be submitted.
    pub(in crate::http) fn decoded(&mut self, items: u32) {
        self.decoded = Some(Instant::now());
        self.items = items;
    }

    /// The driver has answered.
    pub(in crate::http) fn answered(&mut self, receipt: Option<Receipt>) {
        self.answered = Some(Instant::now());
        self.receipt = receipt;
    }

    /// From the start to the driver's answer.
    pub(in crate::http) fn so_far(&self) -> Duration {
        self.answered.map_or(Duration::ZERO, |answered| answered - self.start)
    }

    pub(in crate::http) fn succeeded(mut self, response: Response) -> Response {
        let end = Instant::now();
        let record = self.record(200, "ok", end);
        if let (Some(model), Some(receipt)) = (&self.model, &self.receipt) {
            let statistics = &model.statistics;
            statistics.success.add(1, record.duration);
            statistics.queue.add(1, receipt.queue_wait);
            statistics.compute_input.add(1, record.decode);
            statistics.compute_infer.add(1, receipt.invoke);
            statistics.compute_output.add(1, record.encode);
        }
        self.telemetry.request_finished(&record);
        self.ended = true;
        self.answered_with(response, 200, "ok", end)
    }

    pub(in crate::http) fn failed(mut self, code: Code, response: Response) -> Response {
        let end = Instant::now();
        let (status, name) = (code.status().as_u16(), code.name());
        let record = self.record(status, name, end);
        if let Some(model) = &self.model {
            model.statistics.fail.add(1, record.duration);
        }
        self.telemetry.request_finished(&record);
        self.ended = true;
        self.answered_with(response, status, name, end)
    }

    /// Ends the span, and names the trace to the caller.
    fn answered_with(
        &mut self,
        mut response: Response,
        status: u16,
        code: &'static str,
        end: Instant,
    ) -> Response {
        let Some(trace) = self.trace.take() else { return response };
        if let Ok(id) = HeaderValue::from_str(&trace.id().to_string()) {
            response.headers_mut().insert(PENSTOCK_TRACE_ID, id);
        }
        self.end_span(trace, status, code, end, false);
        response
    }

    fn end_span(
        &self,
        trace: RequestTrace,
        status: u16,
        code: &'static str,
        end: Instant,
        is_cancelled: bool,
    ) {
        if trace.is_recorded() {
            trace.ended(&RequestEnd {
                route: self.route,
                path: self.head.uri.path(),
                start: self.start,
                end,
                record: self.record(status, code, end),
                is_cancelled,
            });
        }
    }

    fn record(&self, status: u16, code: &'static str, end: Instant) -> RequestRecord<'_> {
        RequestRecord {
            model: self.model.as_ref().map(|model| model.name.as_str()),
            headers: &self.head.headers,
            status,
            code,
            items: self.items,
            duration: end - self.start,
            decode: self.decoded.unwrap_or(end) - self.start,
            encode: self.answered.map_or(Duration::ZERO, |answered| end - answered),
            receipt: self.receipt,
            trace: self.trace.as_ref().map(RequestTrace::id),
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.telemetry.request_cancelled(self.model.as_ref().map(|model| model.name.as_str()));
        if let Some(trace) = self.trace.take() {
            self.end_span(trace, 0, "cancelled", Instant::now(), true);
        }
    }
}
