//! Logs of the real engine hold; the same logs, tampered with, are named by the rule that they break.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    reason = "a tampering looks for one kind of step"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_contract::{
    BatchId, Canary, EnvironmentPolicy, HoldOut, ItemFailure, Mebibytes, ModelId, PackingPolicy,
    PlanRevision, RequestId, RetryLimits, Rung, ServiceTimeTable, ServingPlan, Timestamp,
};
use gateway_policy::{
    BatchOutcome, CallPurpose, Dispatch, Engine, EnvironmentCall, ItemBytes, Rejection, RequestMeta,
    RequestOutcome, TooLarge,
};

use super::{Reference, Rule};
use crate::random::Random;

#[derive(Clone, Debug)]
enum Step {
    Plan(Box<ServingPlan>),
    Request(RequestMeta, Result<(), Rejection>),
    Dispatch(Dispatch),
    Outcome(BatchId, BatchOutcome),
    Answer(RequestId, RequestOutcome),
    Call(EnvironmentCall),
    CallEnd(BatchId),
    Cancel(RequestId),
    Drain,
}

type Log = Vec<(Timestamp, Step)>;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn below(random: &mut Random, bound: u64) -> u64 {
    random.next_u64() % bound
}

fn small(random: &mut Random, bound: u32) -> u32 {
    u32::try_from(below(random, u64::from(bound))).unwrap()
}

fn rung(max_items: u32, qualifier: &str) -> Rung {
    Rung { max_items, qualifier: qualifier.into(), memory_mib: Mebibytes(1769), process_count: 1 }
}

fn plan(random: &mut Random, model: u16, revision: u64) -> ServingPlan {
    let packing = [PackingPolicy::None, PackingPolicy::Fifo, PackingPolicy::Deadline];
    ServingPlan {
        model: ModelId(model),
        revision: PlanRevision(revision),
        parent: None,
        packing: packing[small(random, 3) as usize],
        max_batch_size: [1, 3, 8, 20][small(random, 4) as usize],
        max_queue_delay: ms(below(random, 40)),
        max_in_flight: 1 + small(random, 6),
        queue_capacity_items: 40,
        queue_capacity_bytes: 6_000,
        max_request_payload_bytes: 300 + below(random, 2_000),
        max_response_payload_bytes: 300 + below(random, 2_000),
        slo_latency: ms(below(random, 200)),
        deadline_margin: ms(2),
        service_time_upper: ServiceTimeTable::new(vec![(1, ms(10)), (101, ms(110))]).unwrap(),
        rungs: vec![rung(2, "small"), rung(10_000, "large")],
        canary: (below(random, 2) == 0)
            .then(|| Canary { rung: rung(6, "canary"), every: 2 + small(random, 5) }),
        hold_out: (below(random, 2) == 0).then(|| HoldOut {
            rung: rung(1, "alone"),
            every_items: 4 + small(random, 30),
            run_items: 1 + small(random, 3),
        }),
        environments: (below(random, 4) == 0).then(|| EnvironmentPolicy {
            init: ms(below(random, 300)),
            waiting_share: [0.0, 0.1, 1.0][small(random, 3) as usize],
            stays_warm: ms(1_000 + below(random, 4_000)),
            keep_calls: small(random, 4),
        }),
        retry: RetryLimits {
            budget_ratio: [0.0, 0.1, 0.5][small(random, 3) as usize],
            budget_min_per_second: [0.0, 2.0, 100.0][small(random, 3) as usize],
            max_attempts: 1 + small(random, 4),
            max_unknown_outcome_retries: small(random, 2),
            backoff_base: ms(10),
            backoff_max: ms(100),
        },
    }
}

fn request(random: &mut Random, id: u64, models: u64, now: Timestamp) -> RequestMeta {
    let items = 1 + if below(random, 4) == 0 { small(random, 30) } else { 0 };
    let uniform = small(random, 250);
    let each: Vec<u32> = (0..items).map(|_| small(random, 250)).collect();
    RequestMeta {
        id: RequestId(id),
        model: ModelId(u16::try_from(below(random, models)).unwrap()),
        items,
        item_bytes: if below(random, 2) == 0 {
            ItemBytes::Uniform(uniform)
        } else {
            ItemBytes::Each(each.into())
        },
        response_bytes_per_item: small(random, 150),
        class: u16::try_from(below(random, 4)).unwrap(),
        priority: u8::try_from(below(random, 3)).unwrap(),
        deadline: (below(random, 2) == 0).then(|| now + ms(5 + below(random, 300))),
    }
}

fn outcome(random: &mut Random, items: u32, faults: u64) -> BatchOutcome {
    if below(random, 10) >= faults {
        return BatchOutcome::Completed { failed: Vec::new() };
    }
    match below(random, 8) {
        0 => {
            let longest = if below(random, 5) == 0 { 70_000 } else { 50 };
            let wait = ms(below(random, longest));
            BatchOutcome::Throttled { retry_after: (below(random, 2) == 0).then_some(wait) }
        }
        1 => BatchOutcome::FunctionError,
        2 => BatchOutcome::TooLarge(TooLarge::Request),
        3 => BatchOutcome::TooLarge(TooLarge::Response),
        4 => BatchOutcome::Unknown,
        5 => BatchOutcome::Refused { permanent: below(random, 3) == 0 },
        _ => {
            let failed = (0..items).filter(|_| below(random, 3) == 0);
            BatchOutcome::Completed { failed: failed.map(|at| (at, ItemFailure::ModelFailed)).collect() }
        }
    }
}

/// What the world does to the engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Outcome(BatchId),
    CallEnd(BatchId, bool),
    Plan(usize),
    Request(usize),
    Cancel(RequestId),
    Drain,
}

/// Runs the real engine in a random world and writes down what goes in and comes out.
fn log_of(seed: u64, faults: u64) -> Log {
    let mut random = Random::new(seed);
    let models = 1 + below(&mut random, 2);
    let mut engine = Engine::default();
    let mut log = Log::new();
    let mut agenda = BTreeSet::new();
    let mut plans = Vec::new();
    for model in 0..u16::try_from(models).unwrap() {
        for revision in 1..=1 + below(&mut random, 3) {
            let at = Timestamp::ZERO + ms((revision - 1) * 200 + below(&mut random, 100));
            agenda.insert((at, plans.len(), Action::Plan(plans.len())));
            plans.push(plan(&mut random, model, revision));
        }
    }
    let mut requests = Vec::new();
    let mut now = Timestamp::ZERO + ms(1);
    for id in 0..100 {
        let gap = if below(&mut random, 40) == 0 { 40_000 } else { 8 };
        now = now + ms(below(&mut random, gap));
        agenda.insert((now, 1_000 + requests.len(), Action::Request(requests.len())));
        requests.push(request(&mut random, id, models, now));
        if below(&mut random, 8) == 0 {
            agenda.insert((now + ms(below(&mut random, 60)), 2_000, Action::Cancel(RequestId(id))));
        }
    }
    if below(&mut random, 4) == 0 {
        agenda.insert((now.saturating_sub(ms(100)), 3_000, Action::Drain));
    }
    let mut outcomes = BTreeMap::new();
    let mut now = Timestamp::ZERO;
    loop {
        let wake = engine.poll_timeout().map(|(at, _)| at.max(now));
        match (wake, agenda.first().map(|first| first.0)) {
            (None, None) => return log,
            (Some(wake), next) if next.is_none_or(|next| wake <= next) => {
                now = wake;
                engine.handle_timeout(now);
            }
            (_, _) => {
                let (at, _, action) = agenda.pop_first().unwrap();
                now = at;
                let step = act(&mut engine, now, action, &plans, &requests, &mut outcomes);
                log.push((now, step));
            }
        }
        while let Some(dispatch) = engine.poll_dispatch() {
            let end = outcome(&mut random, dispatch.items, faults);
            let at = now + ms(1 + below(&mut random, 40));
            agenda.insert((at, 4_000, Action::Outcome(dispatch.batch)));
            outcomes.insert(dispatch.batch, end);
            log.push((now, Step::Dispatch(dispatch)));
        }
        while let Some(call) = engine.poll_call() {
            let at = now + ms(1 + below(&mut random, 200));
            agenda.insert((at, 5_000, Action::CallEnd(call.call, below(&mut random, 10) >= faults)));
            log.push((now, Step::Call(call)));
        }
        while let Some((id, outcome)) = engine.poll_answer() {
            log.push((now, Step::Answer(id, outcome)));
        }
        while engine.poll_event().is_some() {}
    }
}

fn act(
    engine: &mut Engine,
    now: Timestamp,
    action: Action,
    plans: &[ServingPlan],
    requests: &[RequestMeta],
    outcomes: &mut BTreeMap<BatchId, BatchOutcome>,
) -> Step {
    match action {
        Action::Plan(at) => {
            engine.handle_plan(now, plans[at].clone());
            Step::Plan(Box::new(plans[at].clone()))
        }
        Action::Request(at) => {
            let admission = engine.handle_request(now, requests[at].clone());
            Step::Request(requests[at].clone(), admission)
        }
        Action::Cancel(id) => {
            engine.handle_cancel(now, id);
            Step::Cancel(id)
        }
        Action::Drain => {
            engine.drain(now);
            Step::Drain
        }
        Action::CallEnd(call, ran) => {
            engine.handle_call(now, call, ran);
            Step::CallEnd(call)
        }
        Action::Outcome(batch) => {
            let outcome = outcomes.remove(&batch).unwrap();
            engine.handle_outcome(now, batch, outcome.clone());
            Step::Outcome(batch, outcome)
        }
    }
}

fn judge(log: &Log) -> Reference {
    let mut reference = Reference::default();
    for (now, step) in log {
        match step {
            Step::Plan(plan) => reference.handle_plan(*now, plan),
            Step::Request(meta, admission) => reference.handle_request(*now, meta, *admission),
            Step::Dispatch(dispatch) => reference.handle_dispatch(*now, dispatch),
            Step::Outcome(batch, outcome) => reference.handle_outcome(*now, *batch, outcome),
            Step::Answer(id, outcome) => reference.handle_answer(*now, *id, outcome),
            Step::Call(call) => reference.handle_call(*now, call),
            Step::CallEnd(call) => reference.handle_call_end(*now, *call),
            Step::Cancel(id) => reference.handle_cancel(*now, *id),
            Step::Drain => reference.handle_drain(*now),
        }
    }
    let end = log.last().map_or(Timestamp::ZERO, |last| last.0) + ms(100_000);
    reference.handle_end(end);
    reference
}

#[test]
fn logs_of_the_engine_hold() {
    for seed in 0..2_000 {
        let log = log_of(seed, seed % 11);
        let found = judge(&log);
        let first = found.findings().first();
        assert!(first.is_empty(), "seed {seed}: {}", first[0]);
    }
}

/// How many of the logs of some seeds a tampering changes, and how many of these are named by `rule` first or among others.
fn named(rule: Rule, tamper: impl Fn(&mut Log) -> bool) -> (u32, u32) {
    let (mut changed, mut found) = (0, 0);
    for seed in 0..200 {
        let mut log = log_of(seed, 3);
        if tamper(&mut log) {
            changed += 1;
            found += u32::from(judge(&log).findings().first().iter().any(|it| it.rule == rule));
        }
    }
    (changed, found)
}

fn is_named(rule: Rule, tamper: impl Fn(&mut Log) -> bool) {
    let (changed, found) = named(rule, tamper);
    assert!(changed >= 10 && found == changed, "{rule:?}: {found} of {changed}");
}

fn find(log: &Log, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    let found: Vec<usize> = (0..log.len()).filter(|&at| wanted(&log[at].1)).collect();
    found.get(found.len() / 2).copied()
}

fn is_answer(step: &Step) -> bool {
    matches!(step, Step::Answer(_, RequestOutcome::Answered { .. }))
}

#[test]
fn a_lost_answer_is_named() {
    is_named(Rule::ExactlyOnce, |log| find(log, is_answer).map(|at| log.remove(at)).is_some());
}

#[test]
fn a_second_answer_is_named() {
    is_named(Rule::ExactlyOnce, |log| {
        find(log, is_answer).map(|at| log.insert(at, log[at].clone())).is_some()
    });
}

#[test]
fn a_strangers_failure_is_named() {
    is_named(Rule::OwnAnswer, |log| {
        let Some(at) = find(log, is_answer) else { return false };
        if let Step::Answer(_, RequestOutcome::Answered { failed }) = &mut log[at].1 {
            *failed = if failed.is_empty() { vec![(0, ItemFailure::ProcessHung)] } else { Vec::new() };
        }
        true
    });
}

#[test]
fn an_item_in_two_batches_is_named() {
    is_named(Rule::OnePlace, |log| {
        let is_first = |step: &Step| matches!(step, Step::Dispatch(it) if it.parent.is_none());
        let (Some(at), Some(last)) = (find(log, is_first), log.iter().rposition(|(_, it)| is_first(it)))
        else {
            return false;
        };
        let Step::Dispatch(mut again) = log[at].1.clone() else { return false };
        let Step::Dispatch(other) = &log[last].1 else { return false };
        again.batch = BatchId(other.batch.0 + 1_000_000);
        log.insert(at + 1, (log[at].0, Step::Dispatch(again)));
        true
    });
}

#[test]
fn a_call_that_the_plan_has_no_use_for_is_named() {
    is_named(Rule::Calls, |log| {
        let Some(at) = find(log, |it| matches!(it, Step::Call(_))) else { return false };
        if let Step::Call(call) = &mut log[at].1 {
            call.qualifier = "nowhere".into();
        }
        true
    });
    is_named(Rule::Calls, |log| {
        let keeps = |it: &Step| matches!(it, Step::Call(call) if call.purpose == CallPurpose::Keep);
        let Some(at) = find(log, keeps) else { return false };
        log.iter_mut().for_each(|(_, step)| {
            if let Step::Plan(plan) = step {
                plan.environments = plan.environments.map(|it| EnvironmentPolicy { keep_calls: 0, ..it });
            }
        });
        keeps(&log[at].1)
    });
}

#[test]
fn a_call_that_ends_twice_is_named() {
    is_named(Rule::Calls, |log| {
        let ended = |it: &Step| matches!(it, Step::CallEnd(..));
        find(log, ended).map(|at| log.insert(at, log[at].clone())).is_some()
    });
}

#[test]
fn a_batch_above_its_plan_is_named() {
    is_named(Rule::PlanBounds, |log| {
        let mut most = 0;
        for at in 0..log.len() {
            match &mut log[at].1 {
                Step::Plan(plan) => most = plan.max_batch_size,
                Step::Dispatch(dispatch) if dispatch.items == most => {
                    dispatch.items += 1;
                    return true;
                }
                _ => {}
            }
        }
        false
    });
}

#[test]
fn a_batch_that_is_not_sent_is_named() {
    is_named(Rule::NothingWaits, |log| {
        let Some(at) = find(log, |step| matches!(step, Step::Dispatch(it) if it.parent.is_none())) else {
            return false;
        };
        let Step::Dispatch(dispatch) = &log[at].1 else { return false };
        let (batch, now, model) = (dispatch.batch, log[at].0, dispatch.model);
        let throttled =
            log[..at].iter().any(|(_, it)| matches!(it, Step::Outcome(_, BatchOutcome::Throttled { .. })));
        let may_wait = log.iter().any(
            |(_, it)| matches!(it, Step::Plan(plan) if plan.model == model && plan.environments.is_some()),
        );
        // Only where nothing else explains the wait: no request of the batch leaves at this time.
        let is_clear =
            !throttled && !may_wait && log.iter().skip(at).find(|(time, _)| *time > now + ms(1)).is_some();
        if !is_clear {
            return false;
        }
        log.retain(|(_, step)| match step {
            Step::Dispatch(it) => it.model != model || it.batch < batch,
            Step::Outcome(it, _) => *it < batch,
            _ => true,
        });
        true
    });
}

#[test]
fn a_deadline_that_is_overlooked_is_named() {
    is_named(Rule::Deadline, |log| {
        let deadlines: BTreeMap<RequestId, Timestamp> = log
            .iter()
            .filter_map(|(_, step)| match step {
                Step::Request(meta, Ok(())) => Some((meta.id, meta.deadline?)),
                _ => None,
            })
            .collect();
        let is_due = |(now, step): &(Timestamp, Step)| matches!(step, Step::Answer(id, RequestOutcome::DeadlineExceeded) if deadlines.get(id) == Some(now));
        log.iter().position(is_due).map(|at| log.remove(at)).is_some()
    });
}

#[test]
fn an_attempt_too_many_is_named() {
    is_named(Rule::Retries, |log| {
        let at = find(log, |step| matches!(step, Step::Dispatch(it) if it.parent.is_some()));
        let Some((_, Step::Dispatch(dispatch))) = at.map(|at| &mut log[at]) else { return false };
        dispatch.attempt += 1;
        true
    });
}

#[test]
fn a_groundless_refusal_is_named() {
    is_named(Rule::Admission, |log| {
        let at = find(log, |step| matches!(step, Step::Request(meta, Ok(())) if meta.deadline.is_none()));
        let Some((_, Step::Request(_, admission))) = at.map(|at| &mut log[at]) else { return false };
        *admission = Err(Rejection::DeadlineUnreachable);
        true
    });
}

#[test]
fn a_canary_out_of_turn_is_named() {
    is_named(Rule::CanaryShare, |log| {
        let at = find(log, |step| matches!(step, Step::Dispatch(it) if it.is_canary));
        let Some((_, Step::Dispatch(dispatch))) = at.map(|at| &mut log[at]) else { return false };
        dispatch.is_canary = false;
        true
    });
}

#[test]
fn an_item_that_runs_alone_out_of_turn_is_named() {
    is_named(Rule::HoldOuts, |log| {
        let at = find(
            log,
            |step| matches!(step, Step::Dispatch(it) if !it.is_canary && !it.is_hold_out && it.items > 1),
        );
        let Some((_, Step::Dispatch(dispatch))) = at.map(|at| &mut log[at]) else { return false };
        dispatch.is_hold_out = true;
        true
    });
}

#[test]
fn a_window_that_is_exceeded_is_named() {
    let (changed, found) = named(Rule::InFlight, |log| {
        for (_, step) in log {
            if let Step::Plan(plan) = step
                && plan.max_in_flight > 1
            {
                plan.max_in_flight = 1;
                return true;
            }
        }
        false
    });
    // Not every log has two batches out at once under its first plan.
    assert!(changed >= 100 && 2 * found > changed, "{found} of {changed}");
}
