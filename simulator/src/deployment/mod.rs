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
mod invocations;
mod jobs;
mod model;
mod observer;
mod report;
mod requests;
mod tally;
mod traffic;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use gateway_contract::{ModelId, RequestId, ServingPlan, Timestamp, WindowStats};
use gateway_policy::Engine;

pub use self::config::{
    Account, ColdStarts, DeploymentConfig, DeploymentError, ModelConfig, NetworkLaw, Patience, Records,
    SizeClass, SizeLaw,
};
pub use self::controller::{Controller, ControllerCounts, FixedPlan, NextPlan, Scheduled, TunerController};
pub use self::fault::{Fault, FaultKind};
use self::jobs::Jobs;
use self::model::{ModelState, Shared};
pub use self::observer::{Observer, Unobserved};
pub use self::report::{Counts, DeploymentReport, ModelReport, Spent, WindowRecord, between};
use self::requests::OpenRequests;
use crate::lambda::{Limits, Sharder};
use crate::random::Random;

/// Wakes of the engine in one instant from which on it counts as stuck.
const MAX_WAKES: u32 = 1_000_000;

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
    jobs: Jobs,
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
        let (account, limits) = (config.account.clone(), Limits::new(&config.account.limits, &reserved));
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
            jobs: Jobs::default(),
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

    /// Everything that happens up to `until` and at it.
    fn advance(&mut self, until: u64) -> Result<(), DeploymentError> {
        let mut wakes = 0;
        loop {
            let ends = self.jobs.next_end();
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

    /// Does all that the engine wants.
    #[inline]
    fn drain(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            self.send(dispatch);
        }
        while let Some(call) = self.engine.poll_call() {
            self.make_call(call);
        }
        while let Some((request, outcome)) = self.engine.poll_answer() {
            self.answer(request, &outcome);
        }
        while let Some(event) = self.engine.poll_event() {
            self.count_event(&event);
        }
    }

    /// Answers what is open, and closes the books.
    fn finish(mut self) -> Result<DeploymentReport, DeploymentError> {
        self.window_end = u64::MAX;
        self.models.iter_mut().for_each(|model| model.coming = None);
        self.schedule_control();
        // Faults alone keep nothing going.
        while !self.jobs.is_empty() || self.engine.poll_timeout().is_some() {
            let ends = self.jobs.next_end();
            let due = self.engine.poll_timeout().map_or(u64::MAX, |(at, _)| at.as_nanos());
            self.advance(ends.min(due).max(self.now))?;
        }
        let is_released = (0..self.models.len()).all(|at| self.limits.in_flight(at) == 0);
        debug_assert!(is_released, "what ended keeps no place of the account");
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
            peak_in_flight: self.jobs.peak(),
        })
    }
}
