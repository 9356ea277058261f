//! The engine: the surface, and the way from a model's number to the model.

use gateway_contract::{BatchId, ModelId, RequestId, ServingPlan, Timestamp};

use crate::model::Model;
use crate::shared::Shared;
use crate::types::{
    BatchOutcome, Dispatch, EnvironmentCall, Event, Part, Rejection, RequestMeta, RequestOutcome, WakeReason,
};

/// Admission, buffer, packing, dispatch window, retries, bisection and scatter of all models.
///
/// After each `handle_*` call the caller drains the `poll_*` methods, then sleeps until [`Engine::poll_timeout`].
/// Time must not run backwards between calls. Models do not share a window, so none can starve another.
#[derive(Debug, Default)]
pub struct Engine {
    shared: Shared,
    /// By [`ModelId`].
    models: Vec<Option<Box<Model>>>,
}

impl Engine {
    /// Takes a request, or says why not.
    ///
    /// # Errors
    /// Why it was not admitted; then nothing is kept of it and no outcome follows.
    #[inline]
    pub fn handle_request(&mut self, now: Timestamp, request: RequestMeta) -> Result<(), Rejection> {
        if self.shared.is_draining {
            return Err(Rejection::Draining);
        }
        let Some(Some(model)) = self.models.get_mut(usize::from(request.model.0)) else {
            return Err(Rejection::UnknownModel);
        };
        if self.shared.requests.find(request.id).is_some() {
            return Err(Rejection::InvalidRequest);
        }
        model.admit(&mut self.shared, now.as_nanos(), request)
    }

    /// Takes the outcome of a dispatched batch. One that is not in flight is suppressed, with an event.
    pub fn handle_outcome(&mut self, now: Timestamp, batch: BatchId, outcome: BatchOutcome) {
        let Some(known) = self.shared.in_flight.remove(batch.0) else {
            self.shared.events.push_back(Event::DuplicateSuppressed);
            return;
        };
        if let Some(Some(model)) = self.models.get_mut(usize::from(known.model.0)) {
            model.handle_outcome(&mut self.shared, now.as_nanos(), batch, known, outcome);
        }
    }

    /// A call is back. `ran`: an environment has answered it. One that is not out is ignored.
    pub fn handle_call(&mut self, now: Timestamp, call: BatchId, ran: bool) {
        let Some(model) = self.shared.calls_out.remove(call.0) else { return };
        if let Some(Some(model)) = self.models.get_mut(usize::from(model.0)) {
            model.handle_call(&mut self.shared, now.as_nanos(), call, ran);
        }
    }

    /// The caller left: queued items go; items in flight finish silently. No outcome follows.
    /// A request that is not there (answered, or never admitted) is ignored.
    pub fn handle_cancel(&mut self, now: Timestamp, request: RequestId) {
        let slot = self.shared.requests.find(request);
        let Some(model) = slot.and_then(|slot| self.shared.requests.at(slot)).map(|known| known.model) else {
            return;
        };
        if let Some(Some(model)) = self.models.get_mut(usize::from(model.0)) {
            model.cancel(&mut self.shared, now.as_nanos(), request);
        }
    }

    /// Puts a model's plan into force; the first one makes the model known. What waits is repacked under it, what is in
    /// flight is not touched. A plan that does not pass [`ServingPlan::validate`] is ignored: the caller validates.
    pub fn handle_plan(&mut self, now: Timestamp, plan: ServingPlan) {
        if plan.validate().is_err() {
            debug_assert!(false, "an invalid plan reached the engine");
            return;
        }
        let at = usize::from(plan.model.0);
        if self.models.len() <= at {
            self.models.resize_with(at + 1, || None);
        }
        match &mut self.models[at] {
            Some(model) => model.set_plan(&mut self.shared, now.as_nanos(), plan),
            unknown => *unknown = Some(Box::new(Model::new(now.as_nanos(), plan))),
        }
    }

    /// Time has passed. Early calls are harmless.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let nanos = now.as_nanos();
        for model in self.models.iter_mut().flatten() {
            if model.wake().is_some_and(|(at, _)| at <= nanos) {
                model.handle_timeout(&mut self.shared, nanos);
            }
        }
    }

    /// Stops admission and flushes what waits, as fast as the windows allow.
    pub fn drain(&mut self, now: Timestamp) {
        self.shared.is_draining = true;
        for model in self.models.iter_mut().flatten() {
            model.handle_timeout(&mut self.shared, now.as_nanos());
        }
    }

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.models.iter().flatten().all(|model| model.is_idle())
    }

    /// Next batch to run.
    #[inline]
    pub fn poll_dispatch(&mut self) -> Option<Dispatch> {
        self.shared.dispatches.pop_front()
    }

    /// Next no-op call to make.
    #[inline]
    pub fn poll_call(&mut self) -> Option<EnvironmentCall> {
        self.shared.calls.pop_front()
    }

    /// Next finished request.
    #[inline]
    pub fn poll_answer(&mut self) -> Option<(RequestId, RequestOutcome)> {
        self.shared.answers.pop_front()
    }

    /// Next event.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }

    /// When [`Engine::handle_timeout`] is wanted next.
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<(Timestamp, WakeReason)> {
        let wakes = self.models.iter().flatten().filter_map(|model| model.wake());
        wakes.min().map(|(at, reason)| (Timestamp::from_nanos(at), reason))
    }

    /// Waiting items, waiting encoded bytes and the arrival of the oldest waiting item of a model; for gauges.
    /// Items that wait for a retry count as in flight, not here.
    #[must_use]
    pub fn queue_depth(&self, model: ModelId) -> (u32, u64, Option<Timestamp>) {
        let Some(Some(model)) = self.models.get(usize::from(model.0)) else {
            return (0, 0, None);
        };
        let (items, bytes, oldest) = model.queue_depth();
        (items, bytes, oldest.map(Timestamp::from_nanos))
    }

    /// Gives back the part list of a dispatch that is no longer needed, so that its memory is used again. Optional.
    #[inline]
    pub fn recycle(&mut self, parts: Vec<Part>) {
        self.shared.recycle_parts(parts);
    }
}
