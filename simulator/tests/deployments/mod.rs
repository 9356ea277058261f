//! Deployments for tests: round plans, and observers that keep what they see.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{
    BatchId, Mebibytes, ModelId, PackingPolicy, RequestId, ServiceObservation, ServiceTimeTable, ServingPlan,
    Timestamp, WindowStats,
};
use gateway_policy::{BatchOutcome, Dispatch, Event, Rejection, RequestMeta, RequestOutcome};
use optimizer_tuner::TunerEvent;
use optimizer_tuner::formula::LogNormal;
use simulator::arrivals::ArrivalProcess;
use simulator::deployment::{
    DeploymentConfig, DeploymentReport, FixedPlan, ModelConfig, ModelReport, Observer, Unobserved, run,
};
use simulator::lambda::{BatchShape, FunctionModel, ThrottleReason};
use simulator::random::Random;

use crate::support;

/// A function that takes so many seconds, and so many for each unit of its largest shard, without spread.
#[derive(Clone, Debug)]
pub(crate) struct Exact {
    pub(crate) seconds: f64,
    pub(crate) unit_seconds: f64,
    pub(crate) init_seconds: f64,
    pub(crate) units: Vec<u64>,
    /// MiB for one process, and for each more.
    pub(crate) used_mib: (u32, u32),
}

impl Default for Exact {
    fn default() -> Self {
        Self { seconds: 0.1, unit_seconds: 0.0, init_seconds: 0.5, units: vec![1], used_mib: (200, 50) }
    }
}

impl FunctionModel for Exact {
    fn law(&self, _memory: Mebibytes, batch: &BatchShape) -> LogNormal {
        let seconds = self.seconds + self.unit_seconds * batch.shard_padded_units as f64;
        LogNormal { ln_mean: seconds.ln(), ln_std: 0.0 }
    }

    /// Exactly: no logarithm rounds it.
    fn seconds(&self, _memory: Mebibytes, batch: &BatchShape, _random: &mut Random) -> f64 {
        self.seconds + self.unit_seconds * batch.shard_padded_units as f64
    }

    fn init_seconds(&self, _memory: Mebibytes) -> f64 {
        self.init_seconds
    }

    fn memory_used(&self, process_count: u32) -> Mebibytes {
        Mebibytes(self.used_mib.0 + self.used_mib.1 * (process_count - 1))
    }

    fn units(&self, class: u16) -> u64 {
        self.units[usize::from(class)]
    }
}

/// Requests at these seconds.
pub(crate) struct At(pub(crate) std::vec::IntoIter<f64>);

impl ArrivalProcess for At {
    fn next(&mut self, _random: &mut Random) -> Option<f64> {
        self.0.next()
    }
}

pub(crate) fn at(seconds: impl IntoIterator<Item = f64>) -> Box<dyn ArrivalProcess> {
    Box::new(At(seconds.into_iter().collect::<Vec<_>>().into_iter()))
}

/// Batches of at most so many, after at most so many milliseconds, at 1769 MiB.
pub(crate) fn plan(max_batch_size: u32, max_queue_delay_ms: u64) -> ServingPlan {
    let mut plan = support::loop_config(1.0, 1.0).base;
    plan.packing = if max_batch_size == 1 { PackingPolicy::None } else { PackingPolicy::Fifo };
    plan.max_batch_size = max_batch_size;
    plan.max_queue_delay = Duration::from_millis(max_queue_delay_ms);
    plan.max_in_flight = 100_000;
    plan.service_time_upper = ServiceTimeTable::new(vec![(1, Duration::from_millis(1))]).unwrap();
    plan.rungs[0].max_items = max_batch_size;
    plan
}

pub(crate) fn model(
    function: impl FunctionModel + 'static,
    arrivals: Box<dyn ArrivalProcess>,
    plan: ServingPlan,
) -> ModelConfig {
    ModelConfig::new("model", Arc::new(function), arrivals, Box::new(FixedPlan::new(plan)))
}

pub(crate) fn one(config: DeploymentConfig) -> ModelReport {
    run(config, &mut Unobserved).unwrap().models.pop().unwrap()
}

pub(crate) fn watched(config: DeploymentConfig) -> (DeploymentReport, Seen) {
    let mut seen = Seen::default();
    let report = run(config, &mut seen).unwrap();
    (report, seen)
}

/// Keeps what it sees.
#[derive(Default)]
pub(crate) struct Seen {
    hasher: DefaultHasher,
    /// When each request arrived, its model and, once it ended, when: nanoseconds.
    pub(crate) requests: BTreeMap<RequestId, (u64, ModelId, Option<u64>)>,
    pub(crate) outcomes: BTreeMap<RequestId, Vec<RequestOutcome>>,
    pub(crate) dispatches: BTreeMap<BatchId, Dispatch>,
    pub(crate) usd: f64,
    pub(crate) throttles: Vec<(u64, ModelId, ThrottleReason)>,
    pub(crate) events: Vec<Event>,
    pub(crate) observations: Vec<ServiceObservation>,
    pub(crate) plans: Vec<(u64, ServingPlan)>,
    pub(crate) most_in_flight: u32,
    in_flight: u32,
    pub(crate) unanswered: usize,
}

impl Seen {
    fn log(&mut self, line: &dyn std::fmt::Debug) {
        format!("{line:?}").hash(&mut self.hasher);
    }

    /// Of everything in order.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.hasher.finish()
    }

    /// Request-seconds that were spent waiting, of all that were admitted.
    pub(crate) fn waited_s(&self) -> f64 {
        let each = self.requests.values().filter_map(|(from, _, to)| to.map(|to| to - from));
        each.sum::<u64>() as f64 / 1e9
    }
}

impl Observer for Seen {
    fn on_plan(&mut self, now: Timestamp, plan: &ServingPlan) {
        self.log(&(now, plan));
        self.plans.push((now.as_nanos(), plan.clone()));
    }

    fn on_request(&mut self, now: Timestamp, request: &RequestMeta, admission: Result<(), Rejection>) {
        self.log(&(now, request, admission));
        if admission.is_ok() {
            self.requests.insert(request.id, (now.as_nanos(), request.model, None));
        }
    }

    fn on_dispatch(&mut self, now: Timestamp, dispatch: &Dispatch) {
        self.log(&(now, dispatch));
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        self.dispatches.insert(dispatch.batch, dispatch.clone());
    }

    fn on_throttle(&mut self, now: Timestamp, model: ModelId, reason: ThrottleReason) {
        self.log(&(now, model, reason));
        self.throttles.push((now.as_nanos(), model, reason));
    }

    fn on_outcome(
        &mut self,
        now: Timestamp,
        dispatch: &Dispatch,
        outcome: &BatchOutcome,
        observation: &ServiceObservation,
        usd: f64,
    ) {
        self.log(&(now, dispatch.batch, outcome, observation, usd));
        self.in_flight -= 1;
        self.usd += usd;
        self.observations.push(observation.clone());
    }

    fn on_answer(
        &mut self,
        now: Timestamp,
        model: ModelId,
        request: RequestId,
        latency: Duration,
        outcome: &RequestOutcome,
    ) {
        self.log(&(now, model, request, latency, outcome));
        self.outcomes.entry(request).or_default().push(outcome.clone());
        if let Some(known) = self.requests.get_mut(&request) {
            assert_eq!((known.1, Timestamp::from_nanos(known.0) + latency), (model, now));
            known.2 = Some(now.as_nanos());
        }
    }

    fn on_cancel(&mut self, now: Timestamp, request: RequestId) {
        self.log(&(now, request));
        if let Some(known) = self.requests.get_mut(&request) {
            known.2 = Some(now.as_nanos());
        }
    }

    fn on_event(&mut self, now: Timestamp, event: &Event) {
        self.log(&(now, event));
        self.events.push(*event);
    }

    fn on_window(&mut self, model: ModelId, stats: &WindowStats) {
        self.log(&(model, stats));
    }

    fn on_tuner_event(&mut self, model: ModelId, event: &TunerEvent) {
        self.log(&(model, event));
    }

    fn on_end(&mut self, now: Timestamp, unanswered: &[RequestId]) {
        self.log(&(now, unanswered));
        self.unanswered = unanswered.len();
    }
}
