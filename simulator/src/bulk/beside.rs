//! Live traffic and a bulk job at full tilt on one account.
//!
//! Rule: live requests go through the production engine under a fixed plan; the job wants as many invocations as it may have, and asks the production
//! [`FairShare`] each time ([`Gate::Shared`]), or nobody ([`Gate::Open`]). Both functions are limited by the same account: who finds it full is
//! throttled. Live is reported to the share every [`REPORT`]. Cold starts are real for both.
//! Deliberately absent: controllers, faults, several models; [`crate::deployment`] has those.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{Mebibytes, ModelId, RequestId, ServingPlan, Timestamp};
use gateway_policy::share::{FairShare, LiveLoad, ShareSettings};
use gateway_policy::{BatchOutcome, Dispatch, Engine, ItemBytes, RequestMeta, RequestOutcome};

use super::job::Cut;
use crate::arrivals::ArrivalProcess;
use crate::deployment::Account;
use crate::lambda::{BatchShape, Environments, FunctionModel, Limits, billed_seconds};
use crate::random::Random;
use crate::world::LatencyHistogram;

/// How often live is reported to the share, and throttled bulk asks again: 100 ms.
const REPORT: u64 = 100_000_000;
/// Functions of the account.
const LIVE: usize = 0;
const BULK: usize = 1;

/// Who bounds the job's invocations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// There is no job.
    NoJob,
    /// Nobody but the account.
    Open,
    /// The production share.
    Shared(ShareSettings),
}

/// Both, on one account.
pub struct Beside {
    /// Live requests of one item.
    pub arrivals: Box<dyn ArrivalProcess>,
    /// Seconds of live traffic.
    pub seconds: f64,
    /// The live model.
    pub live: Arc<dyn FunctionModel>,
    /// How it is served. Its SLO judges.
    pub plan: ServingPlan,
    /// The job's model.
    pub bulk: Arc<dyn FunctionModel>,
    /// Chunks of the job; the first begins at `bulk_from_s`.
    pub chunks: u64,
    /// How they run; `parallelism` bounds them whatever the gate says.
    pub cut: Cut,
    /// When the job begins.
    pub bulk_from_s: f64,
    /// The gate.
    pub gate: Gate,
    /// Limits, network and prices.
    pub account: Account,
    /// Of everything random. Live arrivals and times do not depend on the gate.
    pub seed: u64,
}

/// What came of both.
#[derive(Clone, Debug, Default)]
pub struct BesideReport {
    /// Live requests that came while the job ran (in a run without one: from `bulk_from_s` on).
    pub live: LatencyHistogram,
    /// Of them, later than the SLO or without a value.
    pub late: u64,
    /// Live requests in that time.
    pub requests: u64,
    /// Live invocations that the account refused.
    pub live_throttles: u64,
    /// The same of bulk.
    pub bulk_throttles: u64,
    /// Chunks that ended.
    pub chunks_done: u64,
    /// Seconds of the job; `None`: it was not done when live traffic ended.
    pub job_s: Option<f64>,
    /// Mean invocations of bulk in flight while it ran.
    pub mean_in_flight: f64,
    /// Most invocations of both at a time.
    pub peak: u32,
    /// Dollars of the job.
    pub bulk_usd: f64,
}

impl BesideReport {
    /// Share of live requests outside the SLO.
    #[must_use]
    pub fn late_share(&self) -> f64 {
        self.late as f64 / (self.requests as f64).max(1.0)
    }
}

/// Runs it.
#[must_use]
pub fn run(config: Beside) -> BesideReport {
    let mut seeds = Random::new(config.seed);
    let mut world = World {
        limits: Limits::new(&config.account.limits, &[None, None]),
        environments: [(); 2].map(|()| Environments::new(config.account.keep_alive)),
        engine: Engine::default(),
        share: match config.gate {
            Gate::Shared(settings) => Some(FairShare::new(settings, Timestamp::ZERO)),
            Gate::NoJob | Gate::Open => None,
        },
        arrivals: seeds.fork(1),
        service: [seeds.fork(2), seeds.fork(3)],
        keep_alive: seeds.fork(4),
        ending: BinaryHeap::new(),
        batches: BTreeMap::new(),
        open: BTreeMap::new(),
        begun: 0,
        in_flight: [0, 0],
        chunks_left: if config.gate == Gate::NoJob { 0 } else { config.chunks },
        since_report: LiveLoad::default(),
        is_job_over: config.gate == Gate::NoJob,
        next_request: 0,
        bulk_seconds: 0.0,
        bulk_not_before: nanos(config.bulk_from_s),
        now: 0,
        report: BesideReport::default(),
        config,
    };
    world.run();
    world.report
}

/// An invocation that runs.
enum Running {
    Live { dispatch: Dispatch, outcome: BatchOutcome, has_run: bool },
    Bulk,
}

struct World {
    config: Beside,
    limits: Limits,
    environments: [Environments; 2],
    engine: Engine,
    share: Option<FairShare>,
    arrivals: Random,
    service: [Random; 2],
    keep_alive: Random,
    /// When each ends, and its number.
    ending: BinaryHeap<Reverse<(u64, u64)>>,
    batches: BTreeMap<u64, Running>,
    /// When each live request came, and whether it is judged.
    open: BTreeMap<u64, (u64, bool)>,
    begun: u64,
    in_flight: [u32; 2],
    chunks_left: u64,
    since_report: LiveLoad,
    is_job_over: bool,
    next_request: u64,
    bulk_seconds: f64,
    bulk_not_before: u64,
    now: u64,
    report: BesideReport,
}

fn nanos(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; saturates")]
    let nanos = (seconds * 1e9) as u64;
    nanos
}

impl World {
    fn run(&mut self) {
        self.engine
            .handle_plan(Timestamp::ZERO, ServingPlan { model: ModelId(0), ..self.config.plan.clone() });
        let end = nanos(self.config.seconds);
        let mut next_report = 0;
        let mut arrival = self.draw(end);
        loop {
            let ends = self.ending.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let due = self.engine.poll_timeout().map_or(u64::MAX, |(at, _)| at.as_nanos());
            let report = if next_report <= end { next_report } else { u64::MAX };
            let next = ends.min(due).min(report).min(arrival);
            if next == u64::MAX {
                break;
            }
            self.now = self.now.max(next);
            if ends <= next {
                self.end_one();
            } else if due <= next {
                self.engine.handle_timeout(Timestamp::from_nanos(self.now));
            } else if report <= next {
                next_report += REPORT;
                self.tell_share();
            } else {
                self.arrive();
                arrival = self.draw(end);
            }
            self.drain();
        }
        let ran_s = self.report.job_s.unwrap_or(self.config.seconds - self.config.bulk_from_s);
        self.report.mean_in_flight = self.bulk_seconds / ran_s.max(1e-9);
    }

    fn draw(&mut self, end: u64) -> u64 {
        let next = self.config.arrivals.next(&mut self.arrivals).map_or(u64::MAX, nanos);
        if next < end { next.max(self.now) } else { u64::MAX }
    }

    /// Whether what comes now is judged.
    fn is_judged(&self) -> bool {
        let is_over = self.is_job_over && self.config.gate != Gate::NoJob;
        self.now >= nanos(self.config.bulk_from_s) && !is_over
    }

    fn arrive(&mut self) {
        let id = self.next_request;
        self.next_request += 1;
        let meta = RequestMeta {
            id: RequestId(id),
            model: ModelId(0),
            items: 1,
            item_bytes: ItemBytes::Uniform(1000),
            response_bytes_per_item: 1000,
            class: 0,
            priority: 0,
            deadline: None,
        };
        let is_judged = self.is_judged();
        self.report.requests += u64::from(is_judged);
        if self.engine.handle_request(Timestamp::from_nanos(self.now), meta).is_ok() {
            self.open.insert(id, (self.now, is_judged));
        } else {
            self.report.late += u64::from(is_judged);
        }
    }

    fn drain(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            self.send(dispatch);
        }
        let slo = u64::try_from(self.config.plan.slo_latency.as_nanos()).unwrap_or(u64::MAX);
        while let Some((request, outcome)) = self.engine.poll_answer() {
            let Some((came, is_judged)) = self.open.remove(&request.0) else { continue };
            let is_value = matches!(outcome, RequestOutcome::Answered { failed } if failed.is_empty());
            let latency = self.now - came;
            let is_late = latency > slo || !is_value;
            self.since_report.answered += 1;
            self.since_report.late += u64::from(is_late);
            if !is_judged {
                continue;
            }
            self.report.late += u64::from(is_late);
            self.report.live.record(latency);
        }
        while self.engine.poll_event().is_some() {}
        self.begin_bulk();
    }

    fn tell_share(&mut self) {
        let live = LiveLoad { in_flight: self.in_flight[LIVE], ..std::mem::take(&mut self.since_report) };
        if let Some(share) = &mut self.share {
            share.handle_live(Timestamp::from_nanos(self.now), &live);
        }
    }

    fn tell_bulk(&mut self) {
        let in_flight = self.in_flight[BULK];
        if let Some(share) = &mut self.share {
            share.handle_bulk(Timestamp::from_nanos(self.now), in_flight);
        }
    }

    fn begin_bulk(&mut self) {
        if self.now < self.bulk_not_before || self.now >= nanos(self.config.seconds) {
            return;
        }
        while self.chunks_left > 0 {
            let now = Timestamp::from_nanos(self.now);
            let allowed = self.share.as_ref().map_or(u32::MAX, |share| share.share(now).allowed);
            if self.in_flight[BULK] >= allowed.min(self.config.cut.parallelism) {
                return;
            }
            let shape = BatchShape::uniform(
                self.config.cut.chunk_items,
                self.config.cut.process_count,
                self.config.bulk.units(0),
            );
            let Some((took, usd)) = self.invoke(BULK, self.config.cut.memory, shape) else {
                self.report.bulk_throttles += 1;
                self.bulk_not_before = self.now + REPORT;
                if let Some(share) = &mut self.share {
                    share.handle_bulk_throttled(now);
                }
                return;
            };
            self.chunks_left -= 1;
            self.report.bulk_usd += usd;
            self.bulk_seconds += took as f64 / 1e9;
            self.begin(took, Running::Bulk);
            self.tell_bulk();
        }
    }

    fn send(&mut self, dispatch: Dispatch) {
        let shape = BatchShape::uniform(dispatch.items, dispatch.process_count, self.config.live.units(0));
        match self.invoke(LIVE, dispatch.memory_mib, shape) {
            Some((took, _)) => {
                let outcome = BatchOutcome::Completed { failed: Vec::new() };
                self.begin(took, Running::Live { dispatch, outcome, has_run: true });
            }
            None => {
                self.report.live_throttles += 1;
                self.since_report.throttled += 1;
                let outcome = BatchOutcome::Throttled { retry_after: None };
                self.begin(4_000_000, Running::Live { dispatch, outcome, has_run: false });
            }
        }
    }

    /// Nanoseconds and dollars of an invocation; `None`: throttled.
    fn invoke(&mut self, function: usize, memory: Mebibytes, shape: BatchShape) -> Option<(u64, f64)> {
        self.limits.admit(function, self.now).ok()?;
        let is_cold = !self.environments[function].take_warm(memory, self.now);
        if is_cold {
            if self.limits.start_environment(function, self.now).is_err() {
                self.limits.release(function);
                return None;
            }
            self.environments[function].start(memory);
        }
        let model = if function == LIVE { &self.config.live } else { &self.config.bulk };
        let init_s = if is_cold { model.init_seconds(memory) } else { 0.0 };
        let account = &self.config.account;
        let ran_s = init_s + model.seconds(memory, &shape, &mut self.service[function]) + account.runtime_s;
        let economics = &account.economics;
        let price = economics.prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds);
        let usd = memory.gibibytes() * price * billed_seconds(ran_s) + economics.prices.request_usd();
        self.in_flight[function] += 1;
        self.report.peak = self.report.peak.max(self.in_flight.iter().sum());
        let network_s = match account.network {
            crate::deployment::NetworkLaw::Fixed(seconds)
            | crate::deployment::NetworkLaw::LogNormal(seconds, _) => seconds,
        };
        Some((nanos(ran_s + network_s), usd))
    }

    fn begin(&mut self, takes: u64, what: Running) {
        self.begun += 1;
        self.ending.push(Reverse((self.now + takes, self.begun)));
        self.batches.insert(self.begun, what);
    }

    fn end_one(&mut self) {
        let Some(Reverse((_, number))) = self.ending.pop() else { return };
        match self.batches.remove(&number) {
            Some(Running::Live { dispatch, outcome, has_run }) => {
                if has_run {
                    self.give_back(LIVE, dispatch.memory_mib);
                }
                self.engine.handle_outcome(Timestamp::from_nanos(self.now), dispatch.batch, outcome);
            }
            Some(Running::Bulk) => {
                self.give_back(BULK, self.config.cut.memory);
                self.report.chunks_done += 1;
                self.tell_bulk();
                if self.chunks_left == 0 && self.in_flight[BULK] == 0 {
                    self.is_job_over = true;
                    self.report.job_s = Some(self.now as f64 / 1e9 - self.config.bulk_from_s);
                }
            }
            None => {}
        }
    }

    fn give_back(&mut self, function: usize, memory: Mebibytes) {
        self.limits.release(function);
        self.in_flight[function] -= 1;
        self.environments[function].give_back(memory, self.now, &mut self.keep_alive);
    }
}

/// The share's settings for an account with chunks of so many seconds.
#[must_use]
pub fn share_settings(capacity: u32, chunk_s: f64) -> ShareSettings {
    ShareSettings { capacity, chunk_time: Duration::from_secs_f64(chunk_s), ..ShareSettings::default() }
}
