//! The engine.

use gateway_contract::{BatchId, ModelId, RequestId, ServingPlan, Timestamp};

use crate::types::{BatchOutcome, Dispatch, Event, Rejection, RequestMeta, RequestOutcome, WakeReason};

/// Admission, buffer, packing, dispatch window, retries, bisection and scatter of all models.
///
/// After each `handle_*` call the caller drains the `poll_*` methods, then sleeps until [`Engine::poll_timeout`].
#[derive(Debug, Default)]
pub struct Engine {}

impl Engine {
    /// Takes a request, or says why not.
    ///
    /// # Errors
    /// Why it was not admitted; then nothing is kept of it and no outcome follows.
    pub fn handle_request(&mut self, _now: Timestamp, _request: RequestMeta) -> Result<(), Rejection> {
        Err(Rejection::UnknownModel)
    }

    /// Takes the outcome of a dispatched batch.
    pub fn handle_outcome(&mut self, _now: Timestamp, _batch: BatchId, _outcome: BatchOutcome) {}

    /// The caller left: queued items go; items in flight finish silently. No outcome follows.
    pub fn handle_cancel(&mut self, _now: Timestamp, _request: RequestId) {}

    /// Puts a model's plan into force; the first one makes the model known.
    pub fn handle_plan(&mut self, _now: Timestamp, _plan: ServingPlan) {}

    /// Time has passed. Early calls are harmless.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// Stops admission and flushes what waits.
    pub fn drain(&mut self, _now: Timestamp) {}

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        true
    }

    /// Next batch to run.
    pub fn poll_dispatch(&mut self) -> Option<Dispatch> {
        None
    }

    /// Next finished request.
    pub fn poll_answer(&mut self) -> Option<(RequestId, RequestOutcome)> {
        None
    }

    /// Next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When [`Engine::handle_timeout`] is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, WakeReason)> {
        None
    }

    /// Waiting items, waiting encoded bytes and the age of the oldest waiting item of a model; for gauges.
    #[must_use]
    pub fn queue_depth(&self, _model: ModelId) -> (u32, u64, Option<Timestamp>) {
        (0, 0, None)
    }
}
