//! What a scenario's run leaves behind: each request's end, each batch, under the watch of the invariants.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_contract::{ModelId, RequestId, ServiceObservation, ServingPlan, Timestamp, WindowStats};
use gateway_policy::{BatchOutcome, Dispatch, Event, Rejection, RequestMeta, RequestOutcome};
use optimizer_tuner::TunerEvent;

use crate::deployment::{Account, Observer};
use crate::invariants::Watch;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// With all values, after so many seconds.
    Answered(f64),
    /// Without.
    Failed,
    /// Refused at the door.
    Shed,
}

/// A request that came to an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) model: ModelId,
    /// When it came, seconds.
    pub(super) arrived_s: f64,
    pub(super) end: End,
}

/// A batch that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) model: ModelId,
    pub(super) at_s: f64,
    pub(super) items: u32,
    /// Not a retry or a half.
    pub(super) is_first: bool,
    /// It started an environment.
    pub(super) is_cold: bool,
    pub(super) has_run: bool,
}

/// Sees a run.
pub(super) struct Witness {
    pub(super) watch: Watch,
    pub(super) ended: Vec<Ended>,
    pub(super) sent: Vec<Sent>,
}

impl Witness {
    pub(super) fn new(account: Account) -> Self {
        let watch = Watch::new(account, BTreeMap::new());
        Self { watch, ended: Vec::new(), sent: Vec::new() }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_nanos() as f64 / 1e9
}

impl Observer for Witness {
    fn on_plan(&mut self, now: Timestamp, plan: &ServingPlan) {
        self.watch.on_plan(now, plan);
    }

    fn on_request(&mut self, now: Timestamp, request: &RequestMeta, admission: Result<(), Rejection>) {
        self.watch.on_request(now, request, admission);
        if admission.is_err() {
            self.ended.push(Ended { model: request.model, arrived_s: seconds(now), end: End::Shed });
        }
    }

    fn on_dispatch(&mut self, now: Timestamp, dispatch: &Dispatch) {
        self.watch.on_dispatch(now, dispatch);
    }

    fn on_outcome(
        &mut self,
        now: Timestamp,
        dispatch: &Dispatch,
        outcome: &BatchOutcome,
        observation: &ServiceObservation,
        usd: f64,
    ) {
        self.watch.on_outcome(now, dispatch, outcome, observation, usd);
        self.sent.push(Sent {
            model: dispatch.model,
            at_s: seconds(now),
            items: dispatch.items,
            is_first: dispatch.attempt == 1 && dispatch.parent.is_none(),
            is_cold: observation.init.is_some(),
            has_run: usd > 0.0,
        });
    }

    fn on_answer(
        &mut self,
        now: Timestamp,
        model: ModelId,
        request: RequestId,
        latency: Duration,
        outcome: &RequestOutcome,
    ) {
        self.watch.on_answer(now, model, request, latency, outcome);
        let latency_s = latency.as_secs_f64();
        let has_all = matches!(outcome, RequestOutcome::Answered { failed } if failed.is_empty());
        let end = if has_all { End::Answered(latency_s) } else { End::Failed };
        self.ended.push(Ended { model, arrived_s: seconds(now) - latency_s, end });
    }

    fn on_stray_answer(&mut self, now: Timestamp, request: RequestId, outcome: &RequestOutcome) {
        self.watch.on_stray_answer(now, request, outcome);
    }

    fn on_cancel(&mut self, now: Timestamp, request: RequestId) {
        self.watch.on_cancel(now, request);
    }

    fn on_event(&mut self, now: Timestamp, event: &Event) {
        self.watch.on_event(now, event);
    }

    fn on_window(&mut self, model: ModelId, stats: &WindowStats) {
        self.watch.on_window(model, stats);
    }

    fn on_tuner_event(&mut self, model: ModelId, event: &TunerEvent) {
        self.watch.on_tuner_event(model, event);
    }

    fn on_drain(&mut self, now: Timestamp) {
        self.watch.on_drain(now);
    }

    fn on_end(&mut self, now: Timestamp, unanswered: &[RequestId]) {
        self.watch.on_end(now, unanswered);
    }
}
