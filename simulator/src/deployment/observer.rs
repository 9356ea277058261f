//! Who sees everything and decides nothing.
//!
//! Every method has an empty default, and the observer is a type parameter of the run: what is not watched costs nothing.

use std::time::Duration;

use gateway_contract::{ModelId, RequestId, ServiceObservation, ServingPlan, Timestamp, WindowStats};
use gateway_policy::{
    BatchOutcome, Dispatch, EnvironmentCall, Event, Rejection, RequestMeta, RequestOutcome,
};
use optimizer_tuner::TunerEvent;

use crate::lambda::ThrottleReason;

/// Watches a run. Calls come in the order in which things happen.
pub trait Observer {
    /// Whether windows are to be counted for its sake, even of models whose controller does not want any.
    const WANTS_WINDOWS: bool = true;

    /// A plan is in force from now on.
    fn on_plan(&mut self, _now: Timestamp, _plan: &ServingPlan) {}

    /// A request arrived, and was admitted or not. Poisoned requests look like all others.
    fn on_request(&mut self, _now: Timestamp, _request: &RequestMeta, _admission: Result<(), Rejection>) {}

    /// A batch was sent.
    fn on_dispatch(&mut self, _now: Timestamp, _dispatch: &Dispatch) {}

    /// The engine makes a no-op call.
    fn on_call(&mut self, _now: Timestamp, _call: &EnvironmentCall) {}

    /// A no-op call is back, and the engine is told next.
    fn on_call_end(&mut self, _now: Timestamp, _call: &EnvironmentCall, _ran: bool) {}

    /// Lambda refused an invocation.
    fn on_throttle(&mut self, _now: Timestamp, _model: ModelId, _reason: ThrottleReason) {}

    /// A batch's outcome is known, and goes to the engine next. `usd`: what Lambda really bills for it.
    fn on_outcome(
        &mut self,
        _now: Timestamp,
        _dispatch: &Dispatch,
        _outcome: &BatchOutcome,
        _observation: &ServiceObservation,
        _usd: f64,
    ) {
    }

    /// A request is answered, so long after it arrived.
    fn on_answer(
        &mut self,
        _now: Timestamp,
        _model: ModelId,
        _request: RequestId,
        _latency: Duration,
        _outcome: &RequestOutcome,
    ) {
    }

    /// The engine answered a request that nobody waits for: it was answered before, left, or never came. A defect of the engine.
    fn on_stray_answer(&mut self, _now: Timestamp, _request: RequestId, _outcome: &RequestOutcome) {}

    /// A client left, and the engine was told. Its request may have been answered before.
    fn on_cancel(&mut self, _now: Timestamp, _request: RequestId) {}

    /// Something that the engine counts.
    fn on_event(&mut self, _now: Timestamp, _event: &Event) {}

    /// A control window ended.
    fn on_window(&mut self, _model: ModelId, _stats: &WindowStats) {}

    /// A controller did something.
    fn on_tuner_event(&mut self, _model: ModelId, _event: &TunerEvent) {}

    /// The engine drains from now on.
    fn on_drain(&mut self, _now: Timestamp) {}

    /// Nothing will happen any more. `unanswered`: admitted requests without an answer; above 0 only by a defect of the engine.
    fn on_end(&mut self, _now: Timestamp, _unanswered: &[RequestId]) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    const WANTS_WINDOWS: bool = false;
}
