//! Whom a batch waits for, when another environment is started, and what is kept warm.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use gateway_contract::{BatchId, EnvironmentPolicy, PackingPolicy, ServingPlan, Timestamp};
use gateway_policy::{BatchOutcome, CallPurpose, Dispatch, Engine, EnvironmentCall, Event};
use harness::{at, ms, plan, request, rung};

/// Every request alone, ten at a time; a second of INIT.
fn alone(policy: EnvironmentPolicy) -> Engine {
    let mut engine = Engine::default();
    let plan = ServingPlan {
        max_batch_size: 1,
        max_in_flight: 10,
        rungs: vec![rung(1, "small")],
        environments: Some(policy),
        ..plan(PackingPolicy::Fifo)
    };
    engine.handle_plan(Timestamp::ZERO, plan);
    engine
}

fn policy() -> EnvironmentPolicy {
    EnvironmentPolicy { init: ms(1_000), waiting_share: 1.0, stays_warm: ms(300_000), keep_calls: 0 }
}

fn arrive(engine: &mut Engine, milliseconds: u64, id: u64) -> Option<BatchId> {
    engine.handle_request(at(milliseconds), request(id, 1)).unwrap();
    engine.poll_dispatch().map(|dispatch: Dispatch| dispatch.batch)
}

fn end(engine: &mut Engine, milliseconds: u64, batch: BatchId) {
    engine.handle_outcome(at(milliseconds), batch, BatchOutcome::Completed { failed: Vec::new() });
}

fn calls(engine: &mut Engine) -> Vec<EnvironmentCall> {
    std::iter::from_fn(|| engine.poll_call()).collect()
}

#[test]
fn a_batch_waits_for_the_environment_that_is_at_work() {
    let mut engine = alone(policy());
    let first = arrive(&mut engine, 0, 1).unwrap();
    assert_eq!(arrive(&mut engine, 5, 2), None, "another environment would take a second");
    end(&mut engine, 10, first);
    let second = engine.poll_dispatch().unwrap();
    assert_eq!(second.items, 1);
    let waited = std::iter::from_fn(|| engine.poll_event())
        .find_map(|event| {
            let Event::WaitedForEnvironment { waited, .. } = event else { return None };
            Some(waited)
        })
        .unwrap();
    assert_eq!(waited, ms(5));
}

#[test]
fn what_is_idle_serves_at_once_also_side_by_side() {
    let mut engine = alone(EnvironmentPolicy { waiting_share: 0.0, ..policy() });
    let first = arrive(&mut engine, 0, 1).unwrap();
    assert_eq!(arrive(&mut engine, 1, 2), None);
    let start = calls(&mut engine).remove(0);
    engine.handle_call(at(900), start.call, true);
    let second = engine.poll_dispatch().unwrap().batch;
    end(&mut engine, 910, first);
    end(&mut engine, 911, second);
    assert!(arrive(&mut engine, 1_000, 3).is_some());
    assert!(arrive(&mut engine, 1_001, 4).is_some(), "two are there");
    assert_eq!(arrive(&mut engine, 1_002, 5), None, "and no third");
}

#[test]
fn nothing_waits_for_longer_than_init_and_a_service_time() {
    let mut engine = alone(policy());
    arrive(&mut engine, 0, 1).unwrap();
    assert_eq!(arrive(&mut engine, 100, 2), None);
    let (wake, _) = engine.poll_timeout().unwrap();
    assert_eq!(wake, at(100 + 1_000 + 10));
    engine.handle_timeout(wake);
    assert!(engine.poll_dispatch().is_some(), "the other is not back, so this one starts its own");
}

#[test]
fn more_that_waits_than_is_allowed_starts_another_environment_beside_it() {
    let mut engine = alone(EnvironmentPolicy { waiting_share: 0.0, ..policy() });
    arrive(&mut engine, 0, 1).unwrap();
    assert_eq!(arrive(&mut engine, 5, 2), None);
    let started = calls(&mut engine);
    assert!(!started.is_empty() && started.iter().all(|call| call.purpose == CallPurpose::Start));
    assert_eq!(&*started[0].qualifier, "small");
    let mut patient = alone(policy());
    arrive(&mut patient, 0, 1).unwrap();
    assert_eq!(arrive(&mut patient, 5, 2), None);
    assert_eq!(calls(&mut patient), [], "one item may wait for each that went out");
}

#[test]
fn what_piles_up_decides_how_many_are_started() {
    let started = |arrivals: u64, gap: u64| {
        let mut engine = alone(EnvironmentPolicy { waiting_share: 0.0, ..policy() });
        arrive(&mut engine, 0, 1).unwrap();
        (0..arrivals).for_each(|n| assert_eq!(arrive(&mut engine, gap * n + 1, n + 2), None));
        calls(&mut engine).len()
    };
    // A service time is 10 ms: one more environment carries one arrival in 10 ms, and three carry one in 3.
    assert!(started(8, 10) < started(8, 3), "{} {}", started(8, 10), started(8, 3));
    assert!(started(60, 1) <= 9, "no more than may run at a time");
}

#[test]
fn idle_environments_are_called_together_and_let_go_when_that_has_cost_an_init() {
    let mut engine = alone(EnvironmentPolicy { keep_calls: 2, waiting_share: 0.0, ..policy() });
    let first = arrive(&mut engine, 0, 1).unwrap();
    assert_eq!(arrive(&mut engine, 1, 2), None);
    let start = calls(&mut engine).remove(0);
    engine.handle_call(at(900), start.call, true);
    let second = engine.poll_dispatch().unwrap().batch;
    end(&mut engine, 1_000, first);
    end(&mut engine, 1_000, second);
    let mut now = 1_000;
    for round in 0..2 {
        let (wake, _) = engine.poll_timeout().unwrap();
        assert_eq!(wake, at(now + 270_000), "nine tenths of five minutes");
        engine.handle_timeout(wake);
        let kept = calls(&mut engine);
        assert_eq!(kept.len(), 2, "round {round}: the one that is longest idle is reached by two at a time");
        assert!(kept.iter().all(|call| call.purpose == CallPurpose::Keep));
        now += 270_000;
        kept.iter().for_each(|call| engine.handle_call(at(now), call.call, true));
    }
    assert_eq!(engine.poll_timeout(), None, "two calls each were worth an INIT");
}

#[test]
fn a_batch_does_not_start_an_environment_because_all_are_being_called() {
    let mut engine = alone(EnvironmentPolicy { keep_calls: 9, ..policy() });
    let first = arrive(&mut engine, 0, 1).unwrap();
    end(&mut engine, 10, first);
    let (wake, _) = engine.poll_timeout().unwrap();
    engine.handle_timeout(wake);
    let call = calls(&mut engine).remove(0);
    engine.handle_request(wake, request(2, 1)).unwrap();
    assert_eq!(engine.poll_dispatch(), None);
    engine.handle_call(wake + ms(5), call.call, true);
    assert!(engine.poll_dispatch().is_some());
}

#[test]
fn a_drain_waits_for_nobody_and_calls_nobody() {
    let mut engine = alone(EnvironmentPolicy { keep_calls: 9, waiting_share: 0.0, ..policy() });
    arrive(&mut engine, 0, 1).unwrap();
    assert_eq!(arrive(&mut engine, 5, 2), None);
    calls(&mut engine);
    engine.drain(at(6));
    let second = engine.poll_dispatch().unwrap().batch;
    end(&mut engine, 20, second);
    assert!(calls(&mut engine).is_empty());
    assert_eq!(engine.poll_timeout(), None);
}

#[test]
fn what_crashed_is_not_believed_to_be_there() {
    let mut engine = alone(policy());
    let first = arrive(&mut engine, 0, 1).unwrap();
    engine.handle_outcome(at(10), first, BatchOutcome::FunctionError);
    assert!(arrive(&mut engine, 20, 2).is_some(), "none is there to wait for");
}

/// Sixty wait for one at work, and those started beside it have failed.
fn piled_up() -> Engine {
    let mut engine = alone(EnvironmentPolicy { waiting_share: 0.0, ..policy() });
    arrive(&mut engine, 0, 1).unwrap();
    (2..62).for_each(|id| assert_eq!(arrive(&mut engine, 1, id), None));
    let started = calls(&mut engine);
    assert!(!started.is_empty());
    started.iter().for_each(|start| engine.handle_call(at(5), start.call, false));
    engine
}

#[test]
fn a_start_that_nothing_came_of_is_not_repeated_at_once() {
    let mut engine = piled_up();
    assert_eq!(arrive(&mut engine, 1_004, 63), None);
    assert_eq!(calls(&mut engine), []);
}

#[test]
fn what_is_late_already_starts_an_environment_itself_if_more_waits_behind_it() {
    let mut engine = piled_up();
    assert!(arrive(&mut engine, 1_006, 63).is_some(), "200 ms were allowed");
    assert_eq!(calls(&mut engine), [], "no call beside it");
}
