//! Virtual time and a scripted Lambda around the real engine.
//!
//! The world runs an agenda of arrivals, outcomes and wake-ups in virtual time, and checks on the way what must always hold:
//! exactly one answer per admitted request, no item twice in flight, no batch above its plan, no sleep past work.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part; a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gateway_contract::{
    BatchId, ItemFailure, Mebibytes, ModelId, PackingPolicy, PlanRevision, RequestId, RetryLimits, Rung,
    ServiceTimeTable, ServingPlan, Timestamp,
};
use gateway_policy::{
    BatchOutcome, Dispatch, Engine, Event, ItemBytes, Rejection, RequestMeta, RequestOutcome,
};

pub const MODEL: ModelId = ModelId(0);

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn at(milliseconds: u64) -> Timestamp {
    Timestamp::ZERO + ms(milliseconds)
}

/// A plan with round numbers: 10 ms for one item, 1 ms for each more.
pub fn plan(packing: PackingPolicy) -> ServingPlan {
    ServingPlan {
        model: MODEL,
        revision: PlanRevision(1),
        parent: None,
        packing,
        max_batch_size: 8,
        max_queue_delay: ms(20),
        max_in_flight: 4,
        queue_capacity_items: 1_000,
        queue_capacity_bytes: 1 << 20,
        max_request_payload_bytes: 10_000,
        max_response_payload_bytes: 10_000,
        slo_latency: ms(200),
        deadline_margin: ms(2),
        service_time_upper: ServiceTimeTable::new(vec![(1, ms(10)), (101, ms(110))]).unwrap(),
        rungs: vec![rung(2, "small"), rung(10_000, "large")],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits {
            budget_ratio: 0.5,
            budget_min_per_second: 100.0,
            max_attempts: 4,
            max_unknown_outcome_retries: 1,
            backoff_base: ms(10),
            backoff_max: ms(100),
        },
    }
}

pub fn rung(max_items: u32, qualifier: &str) -> Rung {
    Rung { max_items, qualifier: qualifier.into(), memory_mib: Mebibytes(1769), process_count: 1 }
}

/// A request of items of 100 bytes each way, without deadline.
pub fn request(id: u64, items: u32) -> RequestMeta {
    RequestMeta {
        id: RequestId(id),
        model: MODEL,
        items,
        item_bytes: ItemBytes::Uniform(100),
        response_bytes_per_item: 100,
        class: 0,
        priority: 1,
        deadline: None,
    }
}

pub fn engine(plan: ServingPlan) -> Engine {
    let mut engine = Engine::default();
    engine.handle_plan(Timestamp::ZERO, plan);
    engine
}

pub fn dispatches(engine: &mut Engine) -> Vec<Dispatch> {
    std::iter::from_fn(|| engine.poll_dispatch()).collect()
}

pub fn answers(engine: &mut Engine) -> Vec<(RequestId, RequestOutcome)> {
    std::iter::from_fn(|| engine.poll_answer()).collect()
}

pub fn events(engine: &mut Engine) -> Vec<Event> {
    std::iter::from_fn(|| engine.poll_event()).collect()
}

pub fn completed() -> BatchOutcome {
    BatchOutcome::Completed { failed: Vec::new() }
}

pub fn answered(failed: &[(u32, ItemFailure)]) -> RequestOutcome {
    RequestOutcome::Answered { failed: failed.to_vec() }
}

/// Requests of a dispatch, in order.
pub fn ids(dispatch: &Dispatch) -> Vec<u64> {
    dispatch.parts.iter().map(|part| part.request.0).collect()
}

/// A small deterministic generator (xorshift64*), so that a seed is a whole test case.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// How the scripted Lambda answers one invocation, and after how long.
pub type Script<'a> = Box<dyn FnMut(Timestamp, &Dispatch, u32) -> (BatchOutcome, Duration) + 'a>;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Outcome(BatchId),
    Arrival(u64),
    Cancel(RequestId),
    Plan(u64),
}

/// Engine, agenda, and the checks.
pub struct World<'a> {
    pub engine: Engine,
    pub now: Timestamp,
    pub log: Vec<String>,
    pub dispatched: Vec<Dispatch>,
    pub answers: BTreeMap<RequestId, (Timestamp, RequestOutcome)>,
    pub rejected: BTreeMap<RequestId, Rejection>,
    pub admitted: BTreeMap<RequestId, (Timestamp, RequestMeta)>,
    pub cancelled: BTreeSet<RequestId>,
    pub events: Vec<Event>,
    pub running: u32,
    script: Script<'a>,
    agenda: BTreeSet<(Timestamp, u64, Action)>,
    arrivals: VecDeque<Option<RequestMeta>>,
    outcomes: BTreeMap<BatchId, (Dispatch, BatchOutcome)>,
    plans: Vec<Option<ServingPlan>>,
    order: u64,
}

impl<'a> World<'a> {
    pub fn new(plans: Vec<ServingPlan>, script: Script<'a>) -> Self {
        let mut engine = Engine::default();
        for plan in plans {
            engine.handle_plan(Timestamp::ZERO, plan);
        }
        Self {
            engine,
            now: Timestamp::ZERO,
            log: Vec::new(),
            dispatched: Vec::new(),
            answers: BTreeMap::new(),
            rejected: BTreeMap::new(),
            admitted: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            events: Vec::new(),
            running: 0,
            script,
            agenda: BTreeSet::new(),
            arrivals: VecDeque::new(),
            outcomes: BTreeMap::new(),
            plans: Vec::new(),
            order: 0,
        }
    }

    fn schedule(&mut self, time: Timestamp, action: Action) {
        self.order += 1;
        self.agenda.insert((time, self.order, action));
    }

    pub fn arrive(&mut self, time: Timestamp, request: RequestMeta) {
        let index = self.arrivals.len() as u64;
        self.arrivals.push_back(Some(request));
        self.schedule(time, Action::Arrival(index));
    }

    pub fn cancel(&mut self, time: Timestamp, request: RequestId) {
        self.schedule(time, Action::Cancel(request));
    }

    pub fn change_plan(&mut self, time: Timestamp, plan: ServingPlan) {
        let index = self.plans.len() as u64;
        self.plans.push(Some(plan));
        self.schedule(time, Action::Plan(index));
    }

    /// Runs until nothing is left to do, or for this many steps; the latter is a failure.
    pub fn run(&mut self, max_steps: usize) {
        for _ in 0..max_steps {
            let wake = self.engine.poll_timeout().map(|(time, _)| time.max(self.now));
            let next = self.agenda.first().map(|entry| entry.0);
            match (wake, next) {
                (None, None) => return,
                (Some(wake), next) if next.is_none_or(|next| wake <= next) => {
                    self.now = wake;
                    self.engine.handle_timeout(wake);
                }
                (_, _) => self.act(),
            }
            self.collect();
        }
        panic!("not done after {max_steps} steps at {:?}", self.now);
    }

    fn act(&mut self) {
        let (time, _, action) = self.agenda.pop_first().unwrap();
        self.now = time;
        match action {
            Action::Arrival(index) => {
                let request = self.arrivals[usize::try_from(index).unwrap()].take().unwrap();
                match self.engine.handle_request(time, request.clone()) {
                    Ok(()) => {
                        self.admitted.insert(request.id, (time, request));
                    }
                    Err(rejection) => {
                        self.rejected.insert(request.id, rejection);
                    }
                }
            }
            Action::Plan(index) => {
                let plan = self.plans[usize::try_from(index).unwrap()].take().unwrap();
                self.engine.handle_plan(time, plan);
            }
            Action::Cancel(request) => {
                if self.admitted.contains_key(&request) && !self.answers.contains_key(&request) {
                    self.cancelled.insert(request);
                }
                self.engine.handle_cancel(time, request);
            }
            Action::Outcome(batch) => {
                self.running -= 1;
                let (_, outcome) = self.outcomes.remove(&batch).unwrap();
                self.log.push(format!("{time:?} outcome {batch} {outcome:?}"));
                self.engine.handle_outcome(time, batch, outcome);
            }
        }
    }

    fn collect(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            self.log.push(format!("{:?} {dispatch:?}", self.now));
            self.check_dispatch(&dispatch);
            let (outcome, after) = (self.script)(self.now, &dispatch, self.running);
            self.running += 1;
            self.schedule(self.now + after, Action::Outcome(dispatch.batch));
            self.outcomes.insert(dispatch.batch, (dispatch.clone(), outcome));
            self.dispatched.push(dispatch);
        }
        while let Some((id, outcome)) = self.engine.poll_answer() {
            self.log.push(format!("{:?} answer {id} {outcome:?}", self.now));
            assert!(self.admitted.contains_key(&id), "answer for {id}, which was not admitted");
            assert!(!self.cancelled.contains(&id), "answer for {id}, which was cancelled");
            if let (RequestOutcome::Answered { .. }, Some(deadline)) =
                (&outcome, self.admitted[&id].1.deadline)
            {
                assert!(self.now < deadline, "{id} answered at or after its deadline");
            }
            let before = self.answers.insert(id, (self.now, outcome));
            assert_eq!(before, None, "second answer for {id}");
        }
        while let Some(event) = self.engine.poll_event() {
            self.log.push(format!("{:?} {event:?}", self.now));
            self.events.push(event);
        }
    }

    fn check_dispatch(&self, dispatch: &Dispatch) {
        assert_eq!(dispatch.items, dispatch.parts.iter().map(|part| part.items).sum::<u32>());
        assert!(dispatch.items > 0);
        for part in &dispatch.parts {
            let (_, meta) = &self.admitted[&part.request];
            assert!(part.items >= 1 && part.first_item + part.items <= meta.items, "{part:?}");
            assert!(meta.deadline.is_none_or(|deadline| deadline > self.now), "dead work started: {part:?}");
            assert!(!self.answers.contains_key(&part.request), "work for an answered request: {part:?}");
            for (other, _) in self.outcomes.values() {
                for there in other.parts.iter().filter(|there| there.request == part.request) {
                    let apart = there.first_item + there.items <= part.first_item
                        || part.first_item + part.items <= there.first_item;
                    assert!(apart, "{part:?} is in flight already");
                }
            }
        }
    }

    /// Everything admitted and not cancelled has its answer, and nothing is left.
    pub fn check_finished(&self) {
        assert!(self.engine.is_idle(), "not idle");
        for id in self.admitted.keys() {
            assert!(self.answers.contains_key(id) != self.cancelled.contains(id), "{id} has no answer");
        }
        let models: BTreeSet<ModelId> = self.admitted.values().map(|(_, meta)| meta.model).collect();
        for model in models {
            assert_eq!(self.engine.queue_depth(model), (0, 0, None));
        }
    }

    /// Admitted requests that got a value for each item.
    pub fn succeeded(&self) -> usize {
        self.answers.values().filter(|(_, outcome)| *outcome == answered(&[])).count()
    }
}

/// Failures by item of a batch: those for which `is_guilty` holds.
pub fn positions(dispatch: &Dispatch, is_guilty: impl Fn(RequestId, u32) -> bool) -> Vec<u32> {
    let items = dispatch
        .parts
        .iter()
        .flat_map(|part| (part.first_item..part.first_item + part.items).map(|item| (part.request, item)));
    (0..).zip(items).filter(|(_, (request, item))| is_guilty(*request, *item)).map(|(at, _)| at).collect()
}
