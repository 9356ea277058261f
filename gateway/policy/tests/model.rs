//! Random operations against a naive model of the data plane.
//!
//! The model keeps every waiting item in one list, sorts it anew for each decision and reads the rules word by word; it has no
//! slabs, no lazy deletion, no timers. After each operation the engine must have sent the same batches, given the same answers,
//! show the same gauges and want to be woken at the same time. Left out of the model: failed invocations and length classes, for which
//! the promises and the tests of each rule stand.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_contract::{
    BatchId, ItemFailure, PackingPolicy, PlanRevision, RequestId, ServingPlan, Timestamp,
};
use gateway_policy::{BatchOutcome, Engine, ItemBytes, Rejection, RequestMeta, RequestOutcome};
use harness::{MODEL, Random, answers, dispatches, ms, plan, request};

/// One waiting item.
#[derive(Clone, Debug)]
struct Item {
    request: u64,
    index: u32,
    bytes: u64,
}

struct Known {
    meta: RequestMeta,
    arrival: Timestamp,
    number: u64,
    open: u32,
    failed: Vec<(u32, ItemFailure)>,
}

struct Naive {
    plan: ServingPlan,
    now: Timestamp,
    is_draining: bool,
    known: BTreeMap<u64, Known>,
    waiting: Vec<Item>,
    in_flight: BTreeMap<u64, (Timestamp, Vec<Item>)>,
    sent: Vec<Vec<(u64, u32)>>,
    answers: Vec<(RequestId, RequestOutcome)>,
    batches: u64,
    arrivals: u64,
    mean: Option<u64>,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

impl Naive {
    fn new(plan: ServingPlan) -> Self {
        Self {
            plan,
            now: Timestamp::ZERO,
            is_draining: false,
            known: BTreeMap::new(),
            waiting: Vec::new(),
            in_flight: BTreeMap::new(),
            sent: Vec::new(),
            answers: Vec::new(),
            batches: 0,
            arrivals: 0,
            mean: None,
        }
    }

    fn upper(&self, fill: u32) -> Duration {
        self.plan.service_time_upper.upper(fill)
    }

    fn urgency(&self, request: u64) -> Timestamp {
        let known = &self.known[&request];
        let hard = known.meta.deadline.unwrap_or(Timestamp::MAX);
        let is_reachable = self.plan.slo_latency >= self.upper(1) + self.plan.deadline_margin;
        if is_reachable {
            hard.min(known.arrival + self.plan.slo_latency)
        } else {
            hard
        }
    }

    fn waiting_bytes(&self) -> u64 {
        self.waiting.iter().map(|item| item.bytes).sum()
    }

    fn answer_size(&self, item: &Item) -> u64 {
        u64::from(self.known[&item.request].meta.response_bytes_per_item.max(1))
    }

    fn items(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap()
    }

    fn oldest(&self) -> Option<Timestamp> {
        self.waiting
            .iter()
            .map(|item| self.known[&item.request].arrival)
            .min()
    }

    fn earliest(&self) -> Option<Timestamp> {
        let urgent = self.waiting.iter().map(|item| self.urgency(item.request)).min();
        urgent.filter(|urgency| self.plan.packing == PackingPolicy::Deadline && *urgency < Timestamp::MAX)
    }

    /// When the next batch closes: now, later, or not by itself.
    fn closes(&self) -> Option<Timestamp> {
        let oldest = self.oldest()?;
        let answer_bytes: u64 = self.waiting.iter().map(|item| self.answer_size(item)).sum();
        let is_full = self.items() >= self.plan.max_batch_size
            || self.waiting_bytes() >= self.plan.max_request_payload_bytes
            || answer_bytes >= self.plan.max_response_payload_bytes;
        if is_full || self.is_draining || self.plan.packing == PackingPolicy::None {
            return Some(Timestamp::ZERO);
        }
        let delay = oldest + self.plan.max_queue_delay;
        let urgent = self.earliest().map(|urgency| {
            urgency
                .saturating_sub(self.upper(self.items()))
                .saturating_sub(self.plan.deadline_margin)
        });
        Some(urgent.map_or(delay, |urgent| urgent.min(delay)))
    }

    fn wake(&self) -> Option<Timestamp> {
        let deadlines = self.known.values().filter_map(|known| known.meta.deadline).min();
        let closes = self.closes().filter(|_| self.has_slot());
        deadlines.into_iter().chain(closes).min()
    }

    fn has_slot(&self) -> bool {
        self.in_flight.len() < self.plan.max_in_flight as usize
    }

    fn expire(&mut self, request: u64) {
        self.known.remove(&request);
        self.waiting.retain(|item| item.request != request);
        self.answers
            .push((RequestId(request), RequestOutcome::DeadlineExceeded));
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = now;
        let mut due: Vec<_> = self
            .known
            .iter()
            .filter_map(|(id, known)| Some((known.meta.deadline.filter(|at| *at <= now)?, known.number, *id)))
            .collect();
        due.sort_unstable();
        due.into_iter().for_each(|(_, _, id)| self.expire(id));
    }

    fn send(&mut self) {
        while self.has_slot() && self.closes().is_some_and(|at| at <= self.now) {
            let chosen = self.choose();
            if chosen.is_empty() {
                continue;
            }
            self.batches += 1;
            self.sent
                .push(chosen.iter().map(|item| (item.request, item.index)).collect());
            self.in_flight.insert(self.batches, (self.now, chosen));
        }
    }

    /// After how long a wait a request leads.
    fn patience(&self) -> Duration {
        let is_reachable = self.plan.slo_latency >= self.upper(1) + self.plan.deadline_margin;
        let slo = if is_reachable {
            self.plan.slo_latency
        } else {
            Duration::ZERO
        };
        slo.max(self.plan.max_queue_delay).max(ms(1)) * 10
    }

    fn choose(&mut self) -> Vec<Item> {
        let max = self.plan.max_batch_size;
        let mut bound = max;
        if let Some(urgency) = self.earliest().filter(|_| self.items() < max) {
            let fitting = (1..=max)
                .rev()
                .find(|&fill| self.upper(fill) <= urgency - self.now);
            bound = fitting.filter(|fill| fill * 4 >= self.items()).unwrap_or(max);
        }
        let is_overloaded =
            self.items() > max && self.in_flight.len() + 1 >= self.plan.max_in_flight as usize;
        let probable = self.mean.map_or(0, |mean| (2 * mean).min(nanos(self.upper(max))));
        let hopeless_before = self.now + Duration::from_nanos(probable);
        let oldest = self
            .waiting
            .iter()
            .map(|item| &self.known[&item.request])
            .min_by_key(|known| known.number);
        let starved = oldest
            .filter(|known| self.now - known.arrival >= self.patience())
            .map(|known| known.number);
        let mut order = self.waiting.clone();
        order.sort_by_key(|item| {
            let key = match self.plan.packing {
                PackingPolicy::Deadline if Some(self.known[&item.request].number) != starved => {
                    self.urgency(item.request)
                }
                PackingPolicy::Deadline | PackingPolicy::None | PackingPolicy::Fifo => Timestamp::ZERO,
            };
            (key, self.known[&item.request].number, item.index)
        });
        let (mut chosen, mut bytes, mut answer_bytes): (Vec<Item>, u64, u64) = (Vec::new(), 0, 0);
        for item in order {
            if chosen.len() == bound as usize {
                break;
            }
            let Some(known) = self.known.get(&item.request) else {
                continue;
            };
            let has_begun = chosen.iter().any(|other| other.request == item.request);
            let is_another = self.plan.packing == PackingPolicy::None && !chosen.is_empty() && !has_begun;
            if is_another {
                break;
            }
            if !has_begun && is_overloaded && known.meta.deadline.is_some_and(|at| at < hopeless_before) {
                self.expire(item.request);
                if self.plan.packing == PackingPolicy::None {
                    break;
                }
                continue;
            }
            let (more, answer_more) = (bytes + item.bytes, answer_bytes + self.answer_size(&item));
            let fits = more <= self.plan.max_request_payload_bytes
                && answer_more <= self.plan.max_response_payload_bytes;
            if !fits && !chosen.is_empty() {
                break;
            }
            (bytes, answer_bytes) = (more, answer_more);
            chosen.push(item);
        }
        self.waiting.retain(|item| {
            !chosen
                .iter()
                .any(|other| other.request == item.request && other.index == item.index)
        });
        chosen
    }

    fn admit(&mut self, meta: RequestMeta) -> bool {
        let sizes: Vec<u64> = match &meta.item_bytes {
            ItemBytes::Uniform(bytes) => vec![u64::from(*bytes); meta.items as usize],
            ItemBytes::Each(each) => each.iter().map(|&bytes| u64::from(bytes)).collect(),
        };
        let waves = match self.plan.packing {
            PackingPolicy::Deadline => 0,
            PackingPolicy::Fifo => {
                u64::from(self.items()) / u64::from(self.plan.max_batch_size * self.plan.max_in_flight)
            }
            PackingPolicy::None => {
                let mut requests: Vec<u64> = self.waiting.iter().map(|item| item.request).collect();
                requests.dedup();
                requests.len() as u64 / u64::from(self.plan.max_in_flight)
            }
        };
        let earliest = self.now
            + Duration::from_nanos(
                waves
                    * self
                        .mean
                        .unwrap_or(0)
                        .min(nanos(self.upper(self.plan.max_batch_size))),
            )
            + self.upper(1);
        let has_room = self.waiting.len() + sizes.len() <= self.plan.queue_capacity_items as usize
            && self.waiting_bytes() + sizes.iter().sum::<u64>() <= self.plan.queue_capacity_bytes;
        let is_possible = sizes
            .iter()
            .all(|&bytes| bytes <= self.plan.max_request_payload_bytes);
        if !has_room || !is_possible || meta.deadline.is_some_and(|at| at < earliest) {
            return false;
        }
        self.arrivals += 1;
        let id = meta.id.0;
        let items = (0_u32..).zip(sizes).map(|(index, bytes)| Item {
            request: id,
            index,
            bytes,
        });
        self.waiting.extend(items);
        let open = meta.items;
        self.known.insert(
            id,
            Known {
                meta,
                arrival: self.now,
                number: self.arrivals,
                open,
                failed: Vec::new(),
            },
        );
        true
    }

    fn complete(&mut self, batch: u64, failed: &[(u32, ItemFailure)]) {
        let (since, items) = self.in_flight.remove(&batch).unwrap();
        let took = nanos(self.now - since);
        self.mean = Some(self.mean.map_or(took, |mean| mean - mean / 8 + took / 8));
        for (position, item) in (0_u32..).zip(items) {
            let Some(known) = self.known.get_mut(&item.request) else {
                continue;
            };
            let failure = failed.iter().find(|(at, _)| *at == position);
            known
                .failed
                .extend(failure.map(|(_, failure)| (item.index, *failure)));
            known.open -= 1;
            if known.open == 0 {
                let mut known = self.known.remove(&item.request).unwrap();
                known.failed.sort_unstable();
                let outcome = RequestOutcome::Answered { failed: known.failed };
                self.answers.push((RequestId(item.request), outcome));
            }
        }
    }
}

fn any_plan(random: &mut Random, revision: u64) -> ServingPlan {
    let packing = [
        PackingPolicy::None,
        PackingPolicy::Fifo,
        PackingPolicy::Deadline,
        PackingPolicy::Deadline,
    ];
    ServingPlan {
        revision: PlanRevision(revision),
        packing: packing[usize::try_from(random.below(4)).unwrap()],
        max_batch_size: 1 + u32::try_from(random.below(12)).unwrap(),
        max_queue_delay: ms(random.below(60)),
        max_in_flight: 1 + u32::try_from(random.below(3)).unwrap(),
        queue_capacity_items: 40 + u32::try_from(random.below(40)).unwrap(),
        queue_capacity_bytes: 4_000 + random.below(4_000),
        max_request_payload_bytes: 250 + random.below(1_500),
        max_response_payload_bytes: 250 + random.below(1_500),
        slo_latency: ms(5 + random.below(150)),
        ..plan(PackingPolicy::Fifo)
    }
}

fn any_request(random: &mut Random, id: u64, now: Timestamp) -> RequestMeta {
    let items = 1 + u32::try_from(if random.one_in(3) { random.below(15) } else { 0 }).unwrap();
    let each: Vec<u32> = (0..items)
        .map(|_| u32::try_from(random.below(200)).unwrap())
        .collect();
    let item_bytes = if random.one_in(2) {
        ItemBytes::Uniform(each[0])
    } else {
        ItemBytes::Each(each.into())
    };
    RequestMeta {
        item_bytes,
        response_bytes_per_item: u32::try_from(random.below(120)).unwrap(),
        deadline: random.one_in(2).then(|| now + ms(5 + random.below(150))),
        ..request(id, items)
    }
}

/// Expands parts to items.
fn flat(dispatch: &gateway_policy::Dispatch) -> Vec<(u64, u32)> {
    let parts = dispatch.parts.iter();
    parts
        .flat_map(|part| (part.first_item..part.first_item + part.items).map(|item| (part.request.0, item)))
        .collect()
}

fn compare(seed: u64, step: u32, engine: &mut Engine, naive: &mut Naive) {
    naive.send();
    let sent: Vec<_> = dispatches(engine).iter().map(flat).collect();
    assert_eq!(
        sent,
        std::mem::take(&mut naive.sent),
        "batches, seed {seed}, step {step}"
    );
    assert_eq!(
        answers(engine),
        std::mem::take(&mut naive.answers),
        "answers, seed {seed}, step {step}"
    );
    let gauges = (naive.items(), naive.waiting_bytes(), naive.oldest());
    assert_eq!(
        engine.queue_depth(MODEL),
        gauges,
        "gauges, seed {seed}, step {step}"
    );
    let wake = engine.poll_timeout().map(|(at, _)| at);
    assert_eq!(wake, naive.wake(), "wake-up, seed {seed}, step {step}");
    assert_eq!(
        engine.is_idle(),
        naive.waiting.is_empty() && naive.in_flight.is_empty(),
        "seed {seed}, step {step}"
    );
    while engine.poll_event().is_some() {}
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let first = any_plan(&mut random, 1);
    let mut engine = harness::engine(first.clone());
    let mut naive = Naive::new(first);
    let mut now = Timestamp::ZERO;
    for step in 0..300 {
        let target = now + ms(random.below(12));
        while let Some((wake, _)) = engine.poll_timeout().filter(|(wake, _)| *wake <= target) {
            now = now.max(wake);
            engine.handle_timeout(now);
            naive.advance(now);
            compare(seed, step, &mut engine, &mut naive);
        }
        now = target;
        naive.advance(now);
        match random.below(20) {
            0 => {
                let next = any_plan(&mut random, u64::from(step) + 2);
                naive.plan = next.clone();
                engine.handle_plan(now, next);
            }
            1 => {
                let id = random.below(u64::from(step) + 1);
                naive.known.remove(&id);
                naive.waiting.retain(|item| item.request != id);
                engine.handle_cancel(now, RequestId(id));
            }
            2..=7 => {
                let Some(batch) = naive
                    .in_flight
                    .keys()
                    .nth(usize::try_from(random.below(3)).unwrap())
                    .copied()
                else {
                    continue;
                };
                let size = u32::try_from(naive.in_flight[&batch].1.len()).unwrap();
                let failed: Vec<_> = (0..size)
                    .filter(|_| random.one_in(5))
                    .map(|position| (position, ItemFailure::ModelFailed))
                    .collect();
                naive.complete(batch, &failed);
                engine.handle_outcome(now, BatchId(batch), BatchOutcome::Completed { failed });
            }
            _ => {
                let meta = any_request(&mut random, u64::from(step), now);
                let expected = naive.admit(meta.clone());
                let admitted = engine.handle_request(now, meta);
                assert_eq!(
                    admitted.is_ok(),
                    expected,
                    "{admitted:?}, seed {seed}, step {step}"
                );
                assert_ne!(admitted, Err(Rejection::UnknownModel));
            }
        }
        compare(seed, step, &mut engine, &mut naive);
    }
    naive.is_draining = true;
    engine.drain(now);
    compare(seed, 300, &mut engine, &mut naive);
    while let Some(batch) = naive.in_flight.keys().next().copied() {
        naive.advance(now);
        naive.complete(batch, &[]);
        engine.handle_outcome(
            now,
            BatchId(batch),
            BatchOutcome::Completed { failed: Vec::new() },
        );
        compare(seed, 301, &mut engine, &mut naive);
    }
    assert!(engine.is_idle(), "seed {seed}");
}

#[test]
fn the_engine_does_what_the_naive_model_does() {
    for seed in 0..600 {
        run(seed);
    }
}
