//! Several models behind one production `Engine` on one account, in virtual time.
//!
//! The shell's part is played here as the server plays it: requests, outcomes and time go into the engine, dispatches and answers come out;
//! windows are counted and observations handed over; plans come into force once their environments are warm. What Lambda does to a batch
//! is in `attempt`.
//!
//! **Ties.** Of what happens in the same nanosecond: what has finished comes first (of several, what was begun first), then faults begin and end,
//! plans come into force and windows end (by model), then what the engine waits for, then clients that leave (by request), then arrivals (by
//! model). After each of them all that the engine wants is done before the next. Every model and everything that draws has a stream of
//! random numbers of its own. Equal inputs give equal reports and equal logs.
//!
//! **The end.** No request arrives at `seconds` or later, no window ends after it, no plan changes; what is open is still answered. A last record holds
//! what happened after the last window, so that records add up to the totals.
//!
//! Deliberately absent: the way of an answer back through the gateway (its own time is far below a millisecond), several gateways, and
//! the control loop's handling of missing aliases.

mod attempt;
mod config;
mod control;
pub mod controller;
mod fault;
mod model;
mod observer;
mod report;
mod requests;
mod tally;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use gateway_contract::{Mebibytes, ModelId, RequestId, ServingPlan, Timestamp, WindowStats};
use gateway_policy::{BatchOutcome, Dispatch, Engine, Event, ItemBytes, RequestMeta, RequestOutcome};

use self::attempt::{Around, Attempt, attempt};
pub use self::config::{
    Account, ColdStarts, DeploymentConfig, DeploymentError, ModelConfig, NetworkLaw, Patience, Records,
    SizeClass, SizeLaw,
};
pub use self::controller::{Controller, ControllerCounts, FixedPlan, NextPlan, Scheduled, TunerController};
pub use self::fault::{Fault, FaultKind};
use self::model::{ModelState, Shared};
pub use self::observer::{Observer, Unobserved};
pub use self::report::{Counts, DeploymentReport, ModelReport, Spent, WindowRecord, between};
use self::requests::{Open, OpenRequests};
use crate::lambda::{Limits, Sharder};
use crate::random::Random;

/// Wakes of the engine in one instant from which on it counts as stuck.
const MAX_WAKES: u32 = 1_000_000;

/// Something that ends at a known time.
#[expect(clippy::large_enum_variant, reason = "nearly all are batches, and a box would be an allocation each")]
enum Job {
    Batch { dispatch: Dispatch, attempt: Attempt, began: u64 },
    WarmUp { model: usize, memory: Mebibytes, began: u64 },
}

struct Deployment<'o, O: Observer> {
    engine: Engine,
    observer: &'o mut O,
    account: Account,
    limits: Limits,
    models: Vec<ModelState>,
    /// Nanoseconds.
    now: u64,
    /// Nothing arrives from then on.
    end: u64,
    jobs: Vec<Option<Job>>,
    free_jobs: Vec<u32>,
    /// When each job ends, its number in the order of beginning, its place.
    ending: BinaryHeap<Reverse<(u64, u64, u32)>>,
    begun: u64,
    in_flight: u32,
    peak_in_flight: u32,
    open: OpenRequests,
    /// When clients leave, and whose.
    leaving: BinaryHeap<Reverse<(u64, u64)>>,
    /// From, to and what.
    faults: Vec<(u64, u64, Fault)>,
    /// When faults begin or end, ascending.
    edges: Vec<u64>,
    next_edge: usize,
    window: u64,
    window_end: u64,
    next_control: u64,
    last_window: WindowStats,
    sharder: Sharder,
}

/// Runs a deployment until everything is answered.
///
/// # Errors
/// A configuration or plan that cannot be run; an engine that does not get on.
pub fn run<O: Observer>(
    config: DeploymentConfig,
    observer: &mut O,
) -> Result<DeploymentReport, DeploymentError> {
    config.check()?;
    let (mut world, plans) = Deployment::new(config, observer);
    for (at, plan) in plans.into_iter().enumerate() {
        world.put_in_force(at, plan)?;
    }
    let end = world.end;
    world.models.iter_mut().for_each(|model| model.draw_arrival(end));
    while let Some((at, model)) = world.next_arrival() {
        world.advance(at)?;
        world.arrive(at, model);
        world.models[model].draw_arrival(end);
    }
    world.advance(end)?;
    world.finish()
}

fn nanos(seconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is never negative"
    )]
    let nanos = (seconds * 1e9) as u64;
    nanos
}

impl<'o, O: Observer> Deployment<'o, O> {
    fn new(config: DeploymentConfig, observer: &'o mut O) -> (Self, Vec<ServingPlan>) {
        let mut seeds = Random::new(config.seed);
        let reserved: Vec<_> = config.models.iter().map(|model| model.reserved_concurrency).collect();
        let (window, end) = (nanos(config.window.as_secs_f64()), nanos(config.seconds));
        let faults: Vec<_> =
            config.faults.iter().map(|fault| (nanos(fault.from_s), nanos(fault.to_s), *fault)).collect();
        let mut edges: Vec<u64> = faults.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        edges.sort_unstable();
        edges.dedup();
        let (account, limits) =
            (config.account.clone(), Limits::new(&config.account.limits, &reserved));
        let shared = Shared {
            keep_alive: account.keep_alive,
            records: config.records,
            observer_wants_windows: O::WANTS_WINDOWS,
        };
        let (mut models, mut plans) = (Vec::new(), Vec::new());
        for (id, model) in (0_u16..).zip(config.models) {
            let mut seeds = seeds.fork(u64::from(id) + 1);
            let (state, plan) = ModelState::new(ModelId(id), model, shared, &mut seeds);
            models.push(state);
            plans.push(plan);
        }
        let is_counted = models.iter().any(|model| model.tally.is_some());
        let mut world = Self {
            engine: Engine::default(),
            observer,
            account,
            limits,
            models,
            now: 0,
            end,
            jobs: Vec::new(),
            free_jobs: Vec::new(),
            ending: BinaryHeap::new(),
            begun: 0,
            in_flight: 0,
            peak_in_flight: 0,
            open: OpenRequests::default(),
            leaving: BinaryHeap::new(),
            faults,
            edges,
            next_edge: 0,
            window,
            window_end: if is_counted && window <= end { window } else { u64::MAX },
            next_control: 0,
            last_window: WindowStats::default(),
            sharder: Sharder::default(),
        };
        world.schedule_control();
        (world, plans)
    }

    /// The next arrival of all models.
    #[inline]
    fn next_arrival(&self) -> Option<(u64, usize)> {
        let each = self.models.iter().map(|model| model.next_arrival).zip(0..);
        each.min().filter(|(at, _)| *at < u64::MAX)
    }

    /// Everything that happens up to `until` and at it.
    fn advance(&mut self, until: u64) -> Result<(), DeploymentError> {
        let mut wakes = 0;
        loop {
            let ends = self.ending.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            let due = self.engine.poll_timeout().map_or(u64::MAX, |(at, _)| at.as_nanos());
            let leaves = self.leaving.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let next = ends.min(due).min(leaves).min(self.next_control);
            if next > until || next == u64::MAX {
                self.now = self.now.max(until.min(self.end));
                return Ok(());
            }
            if next > self.now {
                (self.now, wakes) = (next, 0);
            }
            if ends <= next {
                self.end_job();
            } else if self.next_control <= next {
                self.handle_control()?;
            } else if due <= next {
                wakes += 1;
                if wakes > MAX_WAKES {
                    return Err(DeploymentError::Stuck { at_s: self.now as f64 / 1e9 });
                }
                self.engine.handle_timeout(Timestamp::from_nanos(self.now));
            } else if let Some(Reverse((_, request))) = self.leaving.pop() {
                self.leave(request);
            }
            self.drain();
        }
    }

    fn arrive(&mut self, at: u64, index: usize) {
        self.now = at;
        let (now, id) = (Timestamp::from_nanos(at), self.open.next_id());
        let model = &mut self.models[index];
        let (items, class) = model.draw_size();
        let size = model.sizes.classes[usize::from(class)];
        let meta = RequestMeta {
            id: RequestId(id),
            model: model.id,
            items,
            item_bytes: ItemBytes::Uniform(size.item_bytes),
            response_bytes_per_item: size.response_bytes,
            class,
            priority: size.priority,
            deadline: model.request_timeout.map(|timeout| now + timeout),
        };
        let poison = model.active.poison;
        let is_poison = poison > 0.0 && model.streams.poison.unit() < poison;
        self.open.push(Open { arrived: at, model: model.id.0, class, is_poison });
        let admission = self.engine.handle_request(now, meta.clone());
        self.observer.on_request(now, &meta, admission);
        let counts = &mut model.report.counts;
        counts.requests += 1;
        counts.items += u64::from(items);
        if let Some(tally) = &mut model.tally {
            tally.arrive(at, items, admission.is_err());
        }
        if admission.is_err() {
            counts.shed += 1;
            self.open.close(id);
        } else if let Some(patience) = model.patience
            && model.streams.patience.unit() < patience.share
        {
            let stays_s = model.streams.patience.exponential(1.0 / patience.mean_s);
            self.leaving.push(Reverse((at.saturating_add(nanos(stays_s)), id)));
        }
        self.drain();
    }

    /// A client leaves, if it has not been answered.
    fn leave(&mut self, request: u64) {
        let Some(open) = self.open.close(request) else { return };
        self.models[usize::from(open.model)].report.counts.cancelled += 1;
        let now = Timestamp::from_nanos(self.now);
        self.observer.on_cancel(now, RequestId(request));
        self.engine.handle_cancel(now, RequestId(request));
    }

    /// Does all that the engine wants.
    #[inline]
    fn drain(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            self.send(dispatch);
        }
        while let Some((request, outcome)) = self.engine.poll_answer() {
            self.answer(request, &outcome);
        }
        while let Some(event) = self.engine.poll_event() {
            self.count_event(&event);
        }
    }

    fn send(&mut self, dispatch: Dispatch) {
        self.observer.on_dispatch(Timestamp::from_nanos(self.now), &dispatch);
        let model = &mut self.models[usize::from(dispatch.model.0)];
        let mut around = Around {
            account: &self.account,
            limits: &mut self.limits,
            open: &self.open,
            sharder: &mut self.sharder,
            now: self.now,
        };
        let attempt = attempt(model, &mut around, &dispatch);
        model.report.counts.batches += 1;
        let ends = self.now + attempt.takes;
        self.begin(ends, Job::Batch { dispatch, attempt, began: self.now });
    }

    fn begin(&mut self, ends: u64, job: Job) {
        self.in_flight += 1;
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
        let place = match self.free_jobs.pop() {
            Some(place) => {
                self.jobs[place as usize] = Some(job);
                place
            }
            None => {
                self.jobs.push(Some(job));
                u32::try_from(self.jobs.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.ending.push(Reverse((ends, self.begun, place)));
        self.begun += 1;
    }

    fn end_job(&mut self) {
        let Some(Reverse((_, _, place))) = self.ending.pop() else { return };
        self.in_flight -= 1;
        self.free_jobs.push(place);
        match self.jobs[place as usize].take() {
            Some(Job::Batch { dispatch, attempt, began }) => self.end_batch(dispatch, attempt, began),
            Some(Job::WarmUp { model, memory, began }) => self.end_environment(model, memory, began, false),
            None => {}
        }
    }

    /// An environment is done with its work: it stays, unless it was killed or a storm took it.
    fn end_environment(&mut self, model: usize, memory: Mebibytes, began: u64, is_killed: bool) {
        self.limits.release(model);
        let model = &mut self.models[model];
        let is_taken = model.active.keeps_none || (model.storm_at > 0 && began < model.storm_at);
        if is_killed || is_taken {
            model.environments.lose(memory);
        } else {
            model.environments.give_back(memory, self.now, &mut model.streams.keep_alive);
        }
    }

    fn end_batch(&mut self, dispatch: Dispatch, attempt: Attempt, began: u64) {
        let (now, index) = (Timestamp::from_nanos(self.now), usize::from(dispatch.model.0));
        if let Some(ran) = attempt.ran {
            self.end_environment(index, dispatch.memory_mib, began, ran.is_killed);
        }
        let model = &mut self.models[index];
        model.report.count_batch(&dispatch, &attempt, self.now - began);
        let usd = attempt.ran.map_or(0.0, |ran| ran.usd());
        if let Some(tally) = &mut model.tally {
            let is_throttled = matches!(attempt.outcome, BatchOutcome::Throttled { .. });
            tally.batch(&attempt.observation, is_throttled, attempt.known_usd, usd);
        }
        if let Some(reason) = attempt.throttle {
            self.observer.on_throttle(now, dispatch.model, reason);
        }
        self.observer.on_outcome(now, &dispatch, &attempt.outcome, &attempt.observation, usd);
        if model.controller_wants_windows {
            model.report.controller.handle_observation(&attempt.observation);
        }
        self.engine.handle_outcome(now, dispatch.batch, attempt.outcome);
        self.engine.recycle(dispatch.parts);
    }

    #[inline]
    fn answer(&mut self, request: RequestId, outcome: &RequestOutcome) {
        let Some(open) = self.open.close(request.0) else { return };
        let model = &mut self.models[usize::from(open.model)];
        let (latency, counts) = (self.now - open.arrived, &mut model.report.counts);
        let waited = Duration::from_nanos(latency);
        self.observer.on_answer(Timestamp::from_nanos(self.now), model.id, request, waited, outcome);
        if matches!(outcome, RequestOutcome::Answered { failed } if failed.is_empty()) {
            let is_within_slo = latency <= model.slo_nanos;
            counts.answered += 1;
            counts.within_slo += u64::from(is_within_slo);
            model.report.latency.record(latency);
            if let Some(tally) = &mut model.tally {
                tally.answer(latency, is_within_slo);
            }
        } else {
            counts.failed += 1;
            counts.timed_out += u64::from(matches!(outcome, RequestOutcome::DeadlineExceeded));
            if let Some(tally) = &mut model.tally {
                tally.fail();
            }
        }
    }

    #[inline]
    fn count_event(&mut self, event: &Event) {
        self.observer.on_event(Timestamp::from_nanos(self.now), event);
        let of = |model: &ModelId| usize::from(model.0);
        match event {
            Event::Retried { model, .. } => self.models[of(model)].report.counts.retries += 1,
            Event::RetryDenied { model, .. } => self.models[of(model)].report.counts.retries_denied += 1,
            Event::Bisected { model, .. } => self.models[of(model)].report.counts.bisected += 1,
            Event::BatchClosed { .. }
            | Event::DuplicateSuppressed
            | Event::CancelledInQueue { .. }
            | Event::DeadlineExceeded { .. }
            | Event::WindowChanged { .. } => {}
        }
    }

    /// Answers what is open, and closes the books.
    fn finish(mut self) -> Result<DeploymentReport, DeploymentError> {
        self.window_end = u64::MAX;
        self.models.iter_mut().for_each(|model| model.coming = None);
        self.schedule_control();
        // Faults alone keep nothing going.
        while !self.ending.is_empty() || self.engine.poll_timeout().is_some() {
            let ends = self.ending.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            let due = self.engine.poll_timeout().map_or(u64::MAX, |(at, _)| at.as_nanos());
            self.advance(ends.min(due).max(self.now))?;
        }
        let left: Vec<RequestId> = self.open.iter().map(|(id, _)| RequestId(id)).collect();
        for (_, open) in self.open.iter() {
            self.models[usize::from(open.model)].report.counts.unanswered += 1;
        }
        for at in 0..self.models.len() {
            if self.models[at].tally.as_ref().is_some_and(|tally| !tally.is_empty()) {
                self.record_window(at);
            }
            let model = &mut self.models[at];
            model.report.windows.extend(model.recorder.flush());
        }
        self.observer.on_end(Timestamp::from_nanos(self.now), &left);
        Ok(DeploymentReport {
            models: self.models.into_iter().map(|model| model.report).collect(),
            ended_s: self.now as f64 / 1e9,
            peak_in_flight: self.peak_in_flight,
        })
    }
}
