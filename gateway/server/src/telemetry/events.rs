//! Engine events → metrics. The one place where they meet.

use gateway_contract::ModelId;
use gateway_policy::Event;

use super::model::{close_label, retry_label};
use super::{Catalogue, ModelMetrics};

/// Counts an event. `model` finds a model's children; an event of a model that is gone is not counted by model.
pub fn record_event<'a>(
    catalogue: &Catalogue,
    event: &Event,
    model: impl Fn(ModelId) -> Option<&'a ModelMetrics>,
) {
    match *event {
        Event::BatchClosed { model: id, items, bytes, reason, oldest_wait, .. } => {
            let Some(metrics) = model(id) else { return };
            metrics.batch_items.observe(f64::from(items));
            metrics.batch_bytes.observe(bytes as f64);
            metrics.batch_oldest_wait.observe(oldest_wait.as_secs_f64());
            catalogue.batches_dispatched.with_label_values(&[metrics.model(), close_label(reason)]).inc();
        }
        Event::Retried { model: id, reason } => {
            let Some(metrics) = model(id) else { return };
            catalogue.retries.with_label_values(&[metrics.model(), retry_label(reason)]).inc();
        }
        Event::RetryDenied { model: id, reason } => {
            let Some(metrics) = model(id) else { return };
            catalogue.retries_denied.with_label_values(&[metrics.model(), retry_label(reason)]).inc();
        }
        Event::Bisected { model: id, .. } => {
            let Some(metrics) = model(id) else { return };
            metrics.bisections.inc();
        }
        Event::DuplicateSuppressed => catalogue.duplicates_suppressed.inc(),
        Event::CancelledInQueue { model: id } => {
            let Some(metrics) = model(id) else { return };
            metrics.cancelled_in_queue.inc();
        }
        Event::DeadlineExceeded { model: id, in_queue } => {
            let Some(metrics) = model(id) else { return };
            let place = if in_queue { "queue" } else { "in_flight" };
            catalogue.deadlines_exceeded.with_label_values(&[metrics.model(), place]).inc();
        }
        Event::WaitedForEnvironment { model: id, waited, .. } => {
            let Some(metrics) = model(id) else { return };
            metrics.environment_wait.observe(waited.as_secs_f64());
        }
        Event::WindowChanged { model: id, window } => {
            let Some(metrics) = model(id) else { return };
            metrics.in_flight_window.set(i64::from(window));
        }
    }
}
