//! What follows when a batch was not run, or perhaps not: retries within bounds; and outcomes per item.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::time::Duration;

use gateway_contract::{ItemFailure, PackingPolicy, RequestId, RetryLimits, ServingPlan};
use gateway_policy::{BatchOutcome, CloseReason, Engine, Event, RequestMeta, RetryReason, WakeReason};
use harness::{answered, answers, at, completed, dispatches, engine, events, ids, ms, plan, request};

fn none() -> ServingPlan {
    plan(PackingPolicy::None)
}

fn throttled() -> BatchOutcome {
    BatchOutcome::Throttled { retry_after: None }
}

fn with_retry(change: impl FnOnce(&mut RetryLimits)) -> ServingPlan {
    let mut plan = none();
    change(&mut plan.retry);
    plan
}

/// Fails the only batch with each outcome in turn, waiting as long as the engine wants; gives the number of dispatches.
fn fail_again_and_again(engine: &mut Engine, outcome: &BatchOutcome) -> u32 {
    let mut now = at(0);
    let mut count = 0;
    loop {
        while let Some(dispatch) = engine.poll_dispatch() {
            count += 1;
            assert_eq!(dispatch.attempt, count);
            engine.handle_outcome(now, dispatch.batch, outcome.clone());
        }
        let Some((wake, _)) = engine.poll_timeout() else {
            return count;
        };
        now = wake;
        engine.handle_timeout(now);
    }
}

#[test]
fn a_throttled_batch_goes_again_after_a_back_off() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 3)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(1), first.batch, throttled());
    let (wake, reason) = engine.poll_timeout().unwrap();
    assert_eq!(reason, WakeReason::RetryReady);
    assert!(wake >= at(6) && wake <= at(11), "{wake:?}");
    engine.handle_timeout(wake);
    let second = dispatches(&mut engine).remove(0);
    assert_eq!((second.attempt, second.parent, second.reason), (2, Some(first.batch), CloseReason::Retry));
    assert_eq!(second.parts, first.parts);
    engine.handle_outcome(wake, second.batch, completed());
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[]))]);
}

#[test]
fn attempts_are_bounded_and_the_items_say_why() {
    let expected = [
        (throttled(), ItemFailure::Throttled, 4),
        (BatchOutcome::Unknown, ItemFailure::UnknownOutcome, 2),
        (BatchOutcome::Refused { permanent: false }, ItemFailure::Refused, 4),
        (BatchOutcome::Refused { permanent: true }, ItemFailure::Refused, 1),
    ];
    for (outcome, failure, attempts) in expected {
        let mut engine = engine(none());
        engine.handle_request(at(0), request(1, 2)).unwrap();
        assert_eq!(fail_again_and_again(&mut engine, &outcome), attempts, "{outcome:?}");
        assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[(0, failure), (1, failure)]))]);
        assert!(engine.is_idle());
    }
}

#[test]
fn unknown_outcomes_are_not_retried_where_the_plan_forbids_it() {
    let mut engine = engine(with_retry(|retry| retry.max_unknown_outcome_retries = 0));
    engine.handle_request(at(0), request(1, 1)).unwrap();
    assert_eq!(fail_again_and_again(&mut engine, &BatchOutcome::Unknown), 1);
}

#[test]
fn an_unknown_outcome_and_a_throttle_have_separate_bounds() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let mut now = at(0);
    for outcome in [BatchOutcome::Unknown, throttled(), BatchOutcome::Unknown] {
        let dispatch = dispatches(&mut engine).remove(0);
        engine.handle_outcome(now, dispatch.batch, outcome);
        if let Some((wake, _)) = engine.poll_timeout() {
            now = wake;
            engine.handle_timeout(now);
        }
    }
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[(0, ItemFailure::UnknownOutcome)]))]);
}

#[test]
fn without_budget_nothing_is_retried() {
    let mut engine = engine(with_retry(|retry| {
        retry.budget_ratio = 0.0;
        retry.budget_min_per_second = 0.0;
    }));
    engine.handle_request(at(0), request(1, 1)).unwrap();
    assert_eq!(fail_again_and_again(&mut engine, &throttled()), 1);
    let denied = Event::RetryDenied { model: harness::MODEL, reason: RetryReason::Throttled };
    assert!(events(&mut engine).contains(&denied));
}

#[test]
fn retry_after_pauses_what_it_throttled() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(1), first.batch, BatchOutcome::Throttled { retry_after: Some(ms(500)) });
    engine.handle_request(at(2), request(2, 1)).unwrap();
    assert_eq!(engine.poll_dispatch(), None, "nothing else ran, so nothing may start");
    assert_eq!(engine.poll_timeout(), Some((at(501), WakeReason::RetryReady)));
    engine.handle_timeout(at(501));
    assert_eq!(dispatches(&mut engine).iter().flat_map(ids).collect::<Vec<_>>(), [1, 2], "oldest first");
}

#[test]
fn a_batch_in_its_back_off_keeps_its_place_in_the_window() {
    let mut engine = engine(ServingPlan { max_in_flight: 1, ..none() });
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(1), first.batch, throttled());
    engine.handle_request(at(2), request(2, 1)).unwrap();
    assert_eq!(engine.poll_dispatch(), None, "older work is not overtaken");
    let (wake, _) = engine.poll_timeout().unwrap();
    engine.handle_timeout(wake);
    assert_eq!(dispatches(&mut engine).iter().flat_map(ids).collect::<Vec<_>>(), [1]);
}

#[test]
fn items_that_a_retry_cannot_finish_in_time_are_not_retried() {
    let mut engine = engine(plan(PackingPolicy::Fifo));
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(35)), ..request(1, 1) }).unwrap();
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(500)), ..request(2, 1) }).unwrap();
    engine.handle_timeout(at(20));
    let first = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(22), first.batch, throttled());
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[(0, ItemFailure::Throttled)]))]);
    engine.handle_timeout(at(40));
    assert_eq!(ids(&dispatches(&mut engine)[0]), [2]);
}

#[test]
fn a_request_whose_deadline_passes_during_the_back_off_is_not_sent_again() {
    let mut engine = engine(with_retry(|retry| retry.backoff_base = ms(100)));
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(400)), ..request(1, 1) }).unwrap();
    let first = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(1), first.batch, throttled());
    engine.handle_timeout(at(400));
    assert_eq!(answers(&mut engine).len(), 1);
    assert_eq!(engine.poll_dispatch(), None);
    assert!(engine.is_idle());
}

#[test]
fn per_item_failures_reach_their_own_request() {
    let mut engine = engine(plan(PackingPolicy::Fifo));
    engine.handle_request(at(0), request(1, 3)).unwrap();
    engine.handle_request(at(0), request(2, 5)).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    let failed =
        vec![(2, ItemFailure::InvalidInput), (3, ItemFailure::ModelFailed), (7, ItemFailure::ProcessHung)];
    engine.handle_outcome(at(1), sent.batch, BatchOutcome::Completed { failed });
    assert_eq!(
        answers(&mut engine),
        [
            (RequestId(1), answered(&[(2, ItemFailure::InvalidInput)])),
            (RequestId(2), answered(&[(0, ItemFailure::ModelFailed), (4, ItemFailure::ProcessHung)])),
        ]
    );
}

#[test]
fn failures_of_positions_that_do_not_exist_or_repeat_are_suppressed() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 2)).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    let failed = [0, 0, 2, 900].map(|position| (position, ItemFailure::ModelFailed)).to_vec();
    engine.handle_outcome(at(1), sent.batch, BatchOutcome::Completed { failed });
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[(0, ItemFailure::ModelFailed)]))]);
    let suppressed = events(&mut engine).into_iter().filter(|event| *event == Event::DuplicateSuppressed);
    assert_eq!(suppressed.count(), 3);
}

#[test]
fn a_second_outcome_of_a_batch_is_suppressed() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(1), sent.batch, completed());
    events(&mut engine);
    engine.handle_outcome(at(2), sent.batch, BatchOutcome::FunctionError);
    assert_eq!(events(&mut engine), [Event::DuplicateSuppressed]);
    assert_eq!(answers(&mut engine).len(), 1);
}

#[test]
fn an_absurd_retry_after_stops_nothing_for_hours() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    let outcome = BatchOutcome::Throttled { retry_after: Some(Duration::from_secs(1 << 40)) };
    engine.handle_outcome(at(0), first.batch, outcome);
    assert!(engine.poll_timeout().unwrap().0 <= at(60_000));
}
