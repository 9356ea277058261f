//! A world: requests arrive, the production engine decides, Lambda runs and bills, all in virtual time.
//!
//! Ties are broken the same way each time: what has finished comes first, then what the engine waits for, then what arrives; of
//! invocations that finish together the one that was dispatched first. One seed; arrivals, sizes and service draw from streams of their own.
//! Deliberately absent so far: several models, faults, cold starts, hard deadlines.

mod histogram;
mod measurement;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use gateway_contract::{BatchId, PlanError, RequestId, ServingPlan, Timestamp};
use gateway_policy::{BatchOutcome, Engine, ItemBytes, RequestMeta};
use optimizer_tuner::formula::ServiceLaw;

pub use self::histogram::LatencyHistogram;
pub use self::measurement::{Estimate, Measurement};
use crate::arrivals::{ArrivalProcess, ItemsSampler};
use crate::lambda::{ServiceTable, billed_seconds};
use crate::random::Random;

/// Bytes of an item and of its answer: small, so that no byte bound matters.
const ITEM_BYTES: u32 = 64;
const NANOS: f64 = 1e9;

/// What a world is made of.
#[derive(Debug)]
pub struct WorldConfig<'a> {
    /// The plan in force.
    pub plan: ServingPlan,
    /// Probabilities of 1, 2, … items per request.
    pub items_pmf: &'a [f64],
    /// Service by the plan's rungs.
    pub service: &'a ServiceTable,
    /// Dollars per billed second, by rung.
    pub usd_per_second: Vec<f64>,
    /// Dollars per invocation.
    pub fee_usd: f64,
    /// Requests to measure.
    pub requests: u64,
    /// Requests before that, not measured.
    pub warm_up: u64,
    /// The seed.
    pub seed: u64,
}

/// A request that is not answered yet, by id.
#[derive(Clone, Copy, Debug)]
struct Open {
    arrived: u64,
}

struct World<'a> {
    engine: Engine,
    config: &'a WorldConfig<'a>,
    now: u64,
    /// Finish time, then batch.
    running: BinaryHeap<Reverse<(u64, u64)>>,
    /// From `first_open` on.
    open: VecDeque<Open>,
    first_open: u64,
    service: Random,
    measurement: Measurement,
}

/// Runs a world until all its requests are answered.
///
/// # Errors
/// When the plan is not valid.
pub fn run(config: &WorldConfig<'_>, arrivals: &mut dyn ArrivalProcess) -> Result<Measurement, PlanError> {
    config.plan.validate()?;
    let mut seeds = Random::new(config.seed);
    let (mut gaps, mut sizes) = (seeds.fork(1), seeds.fork(2));
    let items = ItemsSampler::new(config.items_pmf);
    let mut world = World {
        engine: Engine::default(),
        config,
        now: 0,
        running: BinaryHeap::new(),
        open: VecDeque::new(),
        first_open: 0,
        service: seeds.fork(3),
        measurement: Measurement::new(
            config.warm_up,
            config.requests,
            config.plan.max_batch_size,
            config.plan.slo_latency,
        ),
    };
    world.engine.handle_plan(Timestamp::ZERO, config.plan.clone());
    let total = config.warm_up + config.requests;
    for id in 0..total {
        let Some(at) = arrivals.next(&mut gaps) else {
            break;
        };
        let at = nanos(at);
        world.advance(at);
        world.arrive(at, id, items.draw(&mut sizes));
    }
    world.engine.drain(Timestamp::from_nanos(world.now));
    world.drain();
    world.advance(u64::MAX);
    Ok(world.measurement)
}

fn nanos(seconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is never negative"
    )]
    let nanos = (seconds * NANOS) as u64;
    nanos
}

impl World<'_> {
    /// Everything that happens up to (not at) `until`, but at it what has finished or is due.
    fn advance(&mut self, until: u64) {
        loop {
            let finish = self.running.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let due = self.engine.poll_timeout().map_or(u64::MAX, |(at, _)| at.as_nanos());
            let next = finish.min(due);
            if next > until || next == u64::MAX {
                return;
            }
            self.step_to(next);
            if finish <= due {
                if let Some(Reverse((_, batch))) = self.running.pop() {
                    let outcome = BatchOutcome::Completed { failed: Vec::new() };
                    self.measurement.on_finish();
                    self.engine.handle_outcome(Timestamp::from_nanos(next), BatchId(batch), outcome);
                }
            } else {
                self.engine.handle_timeout(Timestamp::from_nanos(next));
            }
            self.drain();
        }
    }

    fn arrive(&mut self, at: u64, id: u64, items: u32) {
        self.step_to(at);
        self.measurement.on_arrival(id);
        self.open.push_back(Open { arrived: at });
        let meta = RequestMeta {
            id: RequestId(id),
            model: self.config.plan.model,
            items,
            item_bytes: ItemBytes::Uniform(ITEM_BYTES),
            response_bytes_per_item: ITEM_BYTES,
            class: 0,
            priority: 0,
            deadline: None,
        };
        if self.engine.handle_request(Timestamp::from_nanos(at), meta).is_err() {
            self.measurement.on_shed();
            self.close(id);
        }
        self.drain();
    }

    fn step_to(&mut self, at: u64) {
        self.measurement.on_time(at - self.now);
        self.now = at;
    }

    fn drain(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            let rung = self.config.plan.rung_for(dispatch.items);
            let seconds = self.config.service.draw(dispatch.items, rung, &mut self.service);
            let overhead = self.config.service.overhead_seconds(dispatch.items, rung);
            let usd = billed_seconds(seconds) * self.config.usd_per_second[rung] + self.config.fee_usd;
            self.measurement.on_dispatch(dispatch.items, usd);
            self.running.push(Reverse((self.now + nanos(seconds + overhead), dispatch.batch.0)));
            self.engine.recycle(dispatch.parts);
        }
        while let Some((request, _)) = self.engine.poll_answer() {
            let at = usize::try_from(request.0 - self.first_open).unwrap_or(usize::MAX);
            if let Some(open) = self.open.get(at) {
                self.measurement.on_answer(request.0, self.now - open.arrived);
            }
            self.close(request.0);
        }
        while self.engine.poll_event().is_some() {}
    }

    /// Forgets a request. The front of the queue goes once it is closed.
    fn close(&mut self, id: u64) {
        const CLOSED: u64 = u64::MAX;
        let at = usize::try_from(id - self.first_open).unwrap_or(usize::MAX);
        if let Some(open) = self.open.get_mut(at) {
            open.arrived = CLOSED;
        }
        while self.open.front().is_some_and(|open| open.arrived == CLOSED) {
            self.open.pop_front();
            self.first_open += 1;
        }
    }
}
