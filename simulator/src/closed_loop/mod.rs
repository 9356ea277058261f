//! The whole loop in virtual time: arrivals, the production engine, a function with cold starts, and the production tuner that steers it.
//!
//! The shell's part is played here: windows are counted, observations handed over, plans put into force once their environments are
//! warm, and renewals of the belief run at once. Ties: what has finished, then a window's end, then what the engine waits for, then what
//! arrives. Equal inputs give equal reports.
//! Deliberately absent: several models, poison items, account-wide limits.

mod fleet;
mod windows;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use gateway_contract::{
    BatchId, Mebibytes, RequestId, ServiceObservation, ServiceOutcome, ServingPlan, Timestamp, WindowStats,
};
use gateway_policy::{BatchOutcome, Dispatch, Engine, ItemBytes, RequestMeta, RequestOutcome};
use optimizer_tuner::settings::SettingsError;

use optimizer_tuner::{Economics, Tuner, TunerEvent, TunerReport, TunerSettings};

use self::fleet::Fleet;
use self::windows::Counting;
use crate::arrivals::{ArrivalProcess, ItemsSampler};
use crate::lambda::billed_seconds;
use crate::random::Random;

const ITEM_BYTES: u32 = 64;

/// The function that runs batches.
pub trait FunctionModel {
    /// Seconds of a warm batch.
    fn seconds(&mut self, memory: Mebibytes, process_count: u32, items: u32, random: &mut Random) -> f64;

    /// Seconds of INIT.
    fn init_seconds(&self, memory: Mebibytes) -> f64;

    /// Largest memory that a sandbox with so many processes uses.
    fn memory_used(&self, process_count: u32) -> Mebibytes;
}

/// Something that goes wrong from one second to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// From, seconds.
    pub from_s: f64,
    /// To, seconds.
    pub to_s: f64,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// Every batch takes so many times as long.
    Slow(f64),
    /// So on one memory size only.
    SlowAt(Mebibytes, f64),
    /// No REPORT line comes: what is billed is an estimate.
    NoReport,
    /// Everything is throttled.
    Throttled,
}

/// What a loop is made of.
#[derive(Clone, Debug)]
pub struct LoopConfig {
    /// The tuner's settings.
    pub settings: TunerSettings,
    /// The configured plan.
    pub base: ServingPlan,
    /// Prices as the tuner knows them.
    pub economics: Economics,
    /// Prices as they are billed; usually the same.
    pub true_economics: Economics,
    /// How long, seconds.
    pub seconds: f64,
    /// Round trip beyond the handler, seconds.
    pub network_s: f64,
    /// Billed beyond the handler, seconds.
    pub runtime_s: f64,
    /// Probabilities of 1, 2, … items per request.
    pub items_pmf: Vec<f64>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The seed.
    pub seed: u64,
}

/// One window as it was.
#[derive(Clone, Debug)]
pub struct WindowRecord {
    /// What the tuner was told.
    pub stats: WindowStats,
    /// The plan in force at its end.
    pub revision: u64,
    /// Trials begun so far.
    pub trials: u64,
    /// Change-points so far.
    pub change_points: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct LoopReport {
    /// Every window.
    pub windows: Vec<WindowRecord>,
    /// Everything that the tuner did.
    pub events: Vec<TunerEvent>,
    /// Every plan that was put into force, with the second from which it served.
    pub plans: Vec<(f64, ServingPlan)>,
    /// What the tuner knew at the end.
    pub last: TunerReport,
    /// Seconds of wall time of each call of `handle_window`, if a clock was given.
    pub decision_s: Vec<f64>,
}

impl LoopReport {
    /// Dollars per million answered requests, and share of answered or failed requests outside the objective, from one second to another.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn between(&self, from_s: f64, to_s: f64) -> (f64, f64) {
        let (mut usd, mut answered, mut within, mut failed) = (0.0, 0, 0, 0);
        for record in &self.windows {
            let end = record.stats.ended_at.as_nanos() as f64 / 1e9;
            if end > from_s && end <= to_s {
                usd += record.stats.cost_usd;
                answered += record.stats.answered;
                within += record.stats.within_slo;
                failed += record.stats.failed + record.stats.shed;
            }
        }
        let ended = (answered + failed).max(1) as f64;
        (usd / answered.max(1) as f64 * 1e6, 1.0 - within as f64 / ended)
    }
}

struct Running {
    dispatch: Dispatch,
    observation: ServiceObservation,
    usd: f64,
    is_throttled: bool,
}

struct Loop<'a> {
    config: &'a LoopConfig,
    engine: Engine,
    tuner: Tuner,
    function: &'a mut dyn FunctionModel,
    now_s: f64,
    /// Finish time in nanoseconds, then batch.
    finishing: BinaryHeap<Reverse<(u64, u64)>>,
    running: BTreeMap<u64, Running>,
    /// Plans whose environments are being warmed: from when they serve.
    coming: Vec<(f64, ServingPlan)>,
    open: BTreeMap<u64, f64>,
    fleet: Fleet,
    counting: Counting,
    service: Random,
    report: LoopReport,
    clock: Option<&'a dyn Fn() -> f64>,
}

/// Runs a loop. `clock`, seconds, only measures how long decisions take.
///
/// # Errors
/// Settings that are out of range.
pub fn run(
    config: &LoopConfig,
    arrivals: &mut dyn ArrivalProcess,
    function: &mut dyn FunctionModel,
    clock: Option<&dyn Fn() -> f64>,
) -> Result<LoopReport, SettingsError> {
    let tuner = Tuner::new(config.settings.clone(), config.base.clone(), config.economics.clone())?;
    Ok(run_tuner(config, tuner, arrivals, function, clock).0)
}

/// Runs a loop with a tuner that may know something already; gives it back.
pub fn run_tuner(
    config: &LoopConfig,
    tuner: Tuner,
    arrivals: &mut dyn ArrivalProcess,
    function: &mut dyn FunctionModel,
    clock: Option<&dyn Fn() -> f64>,
) -> (LoopReport, Tuner) {
    let mut seeds = Random::new(config.seed);
    let (mut gaps, mut sizes) = (seeds.fork(1), seeds.fork(2));
    let items = ItemsSampler::new(&config.items_pmf);
    let mut world = Loop {
        config,
        engine: Engine::default(),
        function,
        now_s: 0.0,
        finishing: BinaryHeap::new(),
        running: BTreeMap::new(),
        coming: Vec::new(),
        open: BTreeMap::new(),
        fleet: Fleet::default(),
        counting: Counting::new(config.settings.window, config.settings.slo_percentile),
        service: seeds.fork(3),
        report: LoopReport {
            windows: Vec::new(),
            events: Vec::new(),
            plans: vec![(0.0, tuner.plan().clone())],
            last: tuner.report(),
            decision_s: Vec::new(),
        },
        tuner,
        clock,
    };
    world.engine.handle_plan(Timestamp::ZERO, world.tuner.plan().clone());
    let mut id = 0;
    while let Some(at_s) = arrivals.next(&mut gaps).filter(|&at_s| at_s < config.seconds) {
        world.advance(at_s);
        world.arrive(at_s, id, items.draw(&mut sizes));
        id += 1;
    }
    world.advance(config.seconds);
    world.report.last = world.tuner.report();
    (world.report, world.tuner)
}

fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs_f64(seconds.max(0.0))
}

fn seconds(at: Timestamp) -> f64 {
    (at - Timestamp::ZERO).as_secs_f64()
}

impl Loop<'_> {
    /// Everything that happens up to `until_s`.
    fn advance(&mut self, until_s: f64) {
        loop {
            let finish_s = self.finishing.peek().map_or(f64::INFINITY, |Reverse((at, _))| *at as f64 / 1e9);
            let coming_s = self.coming.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
            let window_s = self.counting.ends_s();
            let due_s = self.engine.poll_timeout().map_or(f64::INFINITY, |(at, _)| seconds(at));
            let next = finish_s.min(coming_s).min(window_s).min(due_s);
            if next > until_s {
                return;
            }
            self.now_s = self.now_s.max(next);
            if finish_s <= next {
                self.finish();
            } else if coming_s <= next {
                self.put_in_force(next);
            } else if window_s <= next {
                self.end_window();
            } else {
                self.engine.handle_timeout(timestamp(next));
            }
            self.drain();
        }
    }

    fn arrive(&mut self, at_s: f64, id: u64, items: u32) {
        self.now_s = at_s;
        self.open.insert(id, at_s);
        let meta = RequestMeta {
            id: RequestId(id),
            model: self.config.base.model,
            items,
            item_bytes: ItemBytes::Uniform(ITEM_BYTES),
            response_bytes_per_item: ITEM_BYTES,
            class: 0,
            priority: 0,
            deadline: None,
        };
        let is_shed = self.engine.handle_request(timestamp(at_s), meta).is_err();
        if is_shed {
            self.open.remove(&id);
        }
        self.counting.arrive(at_s, items, is_shed);
        self.drain();
    }

    fn finish(&mut self) {
        let Some(Reverse((_, batch))) = self.finishing.pop() else { return };
        let Some(running) = self.running.remove(&batch) else { return };
        let outcome = if running.is_throttled {
            BatchOutcome::Throttled { retry_after: None }
        } else {
            self.fleet.give_back(running.dispatch.memory_mib.0, self.now_s);
            BatchOutcome::Completed { failed: Vec::new() }
        };
        self.counting.batch(&running.observation, running.usd, running.is_throttled);
        self.tuner.handle_observation(&running.observation);
        self.engine.handle_outcome(timestamp(self.now_s), BatchId(batch), outcome);
        self.engine.recycle(running.dispatch.parts);
    }

    fn end_window(&mut self) {
        let stats = self.counting.close();
        let began = self.clock.map(|clock| clock());
        self.tuner.handle_window(&stats);
        if let (Some(clock), Some(began)) = (self.clock, began) {
            self.report.decision_s.push(clock() - began);
        }
        while let Some(refit) = self.tuner.start_refit() {
            let refitted = refit.run();
            self.tuner.finish_refit(refitted);
        }
        while let Some(plan) = self.tuner.poll_plan() {
            let ready_s = self.warm(&plan);
            self.coming.push((ready_s, plan));
        }
        while let Some(event) = self.tuner.poll_event() {
            self.report.events.push(event);
        }
        let known = self.tuner.report();
        self.report.windows.push(WindowRecord {
            stats,
            revision: known.revision,
            trials: known.trials,
            change_points: known.change_points,
        });
    }

    /// Warms what a plan needs; gives the second from which it may serve.
    fn warm(&mut self, plan: &ServingPlan) -> f64 {
        let expected = self.tuner.report().incumbent.map_or(1.0, |incumbent| incumbent.expected.concurrency);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded count")]
        let wanted = (expected.ceil().clamp(1.0, 50.0)) as u32 + 1;
        let mut ready_s = self.now_s;
        let normal = plan.rungs.iter().map(|rung| (rung.memory_mib, wanted));
        let canary = plan.canary.iter().map(|canary| (canary.rung.memory_mib, 1));
        for (memory, wanted) in normal.chain(canary).collect::<Vec<_>>() {
            let missing = wanted.saturating_sub(self.fleet.count(memory.0, self.now_s));
            if missing == 0 {
                continue;
            }
            let init_s = self.function.init_seconds(memory);
            let price = self.price(memory);
            for _ in 0..missing {
                self.fleet.put(memory.0, self.now_s + init_s);
                let fee = self.config.true_economics.prices.request_usd();
                self.counting.spend(billed_seconds(init_s) * price + fee);
            }
            ready_s = ready_s.max(self.now_s + init_s);
        }
        ready_s
    }

    fn put_in_force(&mut self, at_s: f64) {
        let index = self.coming.iter().position(|(ready, _)| *ready <= at_s);
        let Some((_, plan)) = index.map(|index| self.coming.remove(index)) else { return };
        // A later plan may have become ready first.
        if self.report.plans.last().is_some_and(|(_, last)| last.revision > plan.revision) {
            return;
        }
        self.engine.handle_plan(timestamp(at_s), plan.clone());
        self.report.plans.push((at_s, plan));
    }

    fn price(&self, memory: Mebibytes) -> f64 {
        let economics = &self.config.true_economics;
        memory.gibibytes()
            * economics.prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds)
    }

    fn drain(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            self.dispatch(dispatch);
        }
        while let Some((request, outcome)) = self.engine.poll_answer() {
            let Some(arrived_s) = self.open.remove(&request.0) else { continue };
            let is_value = matches!(&outcome, RequestOutcome::Answered { failed } if failed.is_empty());
            if is_value {
                self.counting.answer(self.now_s - arrived_s, self.config.base.slo_latency.as_secs_f64());
            } else {
                self.counting.fail();
            }
        }
        while self.engine.poll_event().is_some() {}
    }

    fn dispatch(&mut self, dispatch: Dispatch) {
        let memory = dispatch.memory_mib;
        let holds = |fault: &&Fault| fault.from_s <= self.now_s && self.now_s < fault.to_s;
        let faults: Vec<FaultKind> =
            self.config.faults.iter().filter(holds).map(|fault| fault.kind).collect();
        let is_throttled = faults.contains(&FaultKind::Throttled);
        let factor: f64 = faults
            .iter()
            .map(|fault| match *fault {
                FaultKind::Slow(factor) => factor,
                FaultKind::SlowAt(at, factor) if at == memory => factor,
                FaultKind::SlowAt(..) | FaultKind::NoReport | FaultKind::Throttled => 1.0,
            })
            .product();
        let no_report = faults.contains(&FaultKind::NoReport);
        let handler_s =
            factor * self.function.seconds(memory, dispatch.process_count, dispatch.items, &mut self.service);
        let init_s = (!is_throttled && self.fleet.take(memory.0, self.now_s))
            .then(|| self.function.init_seconds(memory));
        let billed_s = billed_seconds(handler_s + self.config.runtime_s + init_s.unwrap_or(0.0));
        let took_s = if is_throttled {
            self.config.network_s
        } else {
            handler_s + self.config.runtime_s + self.config.network_s + init_s.unwrap_or(0.0)
        };
        let usd = if is_throttled {
            0.0
        } else {
            billed_s * self.price(memory) + self.config.true_economics.prices.request_usd()
        };
        let observation = ServiceObservation {
            at: timestamp(self.now_s + took_s),
            revision: dispatch.revision,
            is_canary: dispatch.is_canary,
            outcome: if is_throttled { ServiceOutcome::NotRun } else { ServiceOutcome::Completed },
            items: dispatch.items,
            memory_mib: memory,
            process_count: dispatch.process_count,
            shard_padded_units: 0,
            work_units: 0,
            handler: Duration::from_secs_f64(handler_s),
            billed: Duration::from_secs_f64(billed_s),
            billed_is_estimate: no_report,
            round_trip: Duration::from_secs_f64(took_s),
            init: init_s.map(Duration::from_secs_f64),
            max_memory_used: Some(self.function.memory_used(dispatch.process_count)),
            process_restarts: 0,
        };
        let ready = timestamp(self.now_s + took_s).as_nanos();
        self.finishing.push(Reverse((ready, dispatch.batch.0)));
        self.running.insert(dispatch.batch.0, Running { dispatch, observation, usd, is_throttled });
    }
}
