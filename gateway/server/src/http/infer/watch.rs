//! Follows one request for statistics and telemetry, however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::errors::Code;
use crate::http::{HttpTelemetry, RequestRecord};
use crate::inference::Receipt;
use crate::registry::ServedModel;

/// The times of a request. Dropped before an end is told, it reports a cancellation: the client left.
pub(in crate::http) struct Watch<'t> {
    telemetry: &'t dyn HttpTelemetry,
    model: Option<Arc<ServedModel>>,
    start: Instant,
    decoded: Option<Instant>,
    answered: Option<Instant>,
    items: u32,
    receipt: Option<Receipt>,
    ended: bool,
}

impl<'t> Watch<'t> {
    pub(in crate::http) fn start(telemetry: &'t dyn HttpTelemetry) -> Self {
        let start = Instant::now();
        Self {
            telemetry,
            model: None,
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

    pub(in crate::http) fn succeeded(mut self) {
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
    }

    pub(in crate::http) fn failed(mut self, code: Code) {
        let record = self.record(code.status().as_u16(), code.name(), Instant::now());
        if let Some(model) = &self.model {
            model.statistics.fail.add(1, record.duration);
        }
        self.telemetry.request_finished(&record);
        self.ended = true;
    }

    fn record(&self, status: u16, code: &'static str, end: Instant) -> RequestRecord<'_> {
        RequestRecord {
            model: self.model.as_ref().map(|model| model.name.as_str()),
            status,
            code,
            items: self.items,
            duration: end - self.start,
            decode: self.decoded.unwrap_or(end) - self.start,
            encode: self.answered.map_or(Duration::ZERO, |answered| end - answered),
            receipt: self.receipt,
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.telemetry.request_cancelled(self.model.as_ref().map(|model| model.name.as_str()));
        }
    }
}
