//! What follows when a batch fails: retries within bounds, bisection, and the limits of both.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::time::Duration;

use gateway_contract::{ItemFailure, PackingPolicy, RequestId, RetryLimits, ServingPlan};
use gateway_policy::{
    BatchOutcome, CloseReason, Engine, Event, RequestMeta, RetryReason, TooLarge, WakeReason,
};
use harness::{
    Random, World, answered, answers, at, completed, dispatches, engine, events, ids, ms, plan, positions,
    request,
};
use proptest::prelude::*;

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
    assert_eq!(
        (second.attempt, second.parent, second.reason),
        (2, Some(first.batch), CloseReason::Retry)
    );
    assert_eq!(second.parts, first.parts);
    engine.handle_outcome(wake, second.batch, completed());
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[]))]);
}

#[test]
fn attempts_are_bounded_and_the_items_say_why() {
    let expected = [
        (throttled(), ItemFailure::Throttled, 4),
        (BatchOutcome::Unknown, ItemFailure::UnknownOutcome, 2),
        (
            BatchOutcome::Refused { permanent: false },
            ItemFailure::Refused,
            4,
        ),
        (BatchOutcome::Refused { permanent: true }, ItemFailure::Refused, 1),
    ];
    for (outcome, failure, attempts) in expected {
        let mut engine = engine(none());
        engine.handle_request(at(0), request(1, 2)).unwrap();
        assert_eq!(
            fail_again_and_again(&mut engine, &outcome),
            attempts,
            "{outcome:?}"
        );
        assert_eq!(
            answers(&mut engine),
            [(RequestId(1), answered(&[(0, failure), (1, failure)]))]
        );
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
    assert_eq!(
        answers(&mut engine),
        [(RequestId(1), answered(&[(0, ItemFailure::UnknownOutcome)]))]
    );
}

#[test]
fn without_budget_nothing_is_retried() {
    let mut engine = engine(with_retry(|retry| {
        retry.budget_ratio = 0.0;
        retry.budget_min_per_second = 0.0;
    }));
    engine.handle_request(at(0), request(1, 1)).unwrap();
    assert_eq!(fail_again_and_again(&mut engine, &throttled()), 1);
    let denied = Event::RetryDenied {
        model: harness::MODEL,
        reason: RetryReason::Throttled,
    };
    assert!(events(&mut engine).contains(&denied));
}

#[test]
fn retry_after_pauses_what_it_throttled() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    engine.handle_outcome(
        at(1),
        first.batch,
        BatchOutcome::Throttled {
            retry_after: Some(ms(500)),
        },
    );
    engine.handle_request(at(2), request(2, 1)).unwrap();
    assert_eq!(
        engine.poll_dispatch(),
        None,
        "nothing else ran, so nothing may start"
    );
    assert_eq!(engine.poll_timeout(), Some((at(501), WakeReason::RetryReady)));
    engine.handle_timeout(at(501));
    assert_eq!(
        dispatches(&mut engine).iter().flat_map(ids).collect::<Vec<_>>(),
        [1, 2],
        "oldest first"
    );
}

#[test]
fn items_that_a_retry_cannot_finish_in_time_are_not_retried() {
    let mut engine = engine(plan(PackingPolicy::Fifo));
    engine
        .handle_request(
            at(0),
            RequestMeta {
                deadline: Some(at(35)),
                ..request(1, 1)
            },
        )
        .unwrap();
    engine
        .handle_request(
            at(0),
            RequestMeta {
                deadline: Some(at(500)),
                ..request(2, 1)
            },
        )
        .unwrap();
    engine.handle_timeout(at(20));
    let first = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(22), first.batch, throttled());
    assert_eq!(
        answers(&mut engine),
        [(RequestId(1), answered(&[(0, ItemFailure::Throttled)]))]
    );
    engine.handle_timeout(at(40));
    assert_eq!(ids(&dispatches(&mut engine)[0]), [2]);
}

#[test]
fn a_request_whose_deadline_passes_during_the_back_off_is_not_sent_again() {
    let mut engine = engine(with_retry(|retry| retry.backoff_base = ms(100)));
    engine
        .handle_request(
            at(0),
            RequestMeta {
                deadline: Some(at(400)),
                ..request(1, 1)
            },
        )
        .unwrap();
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
    let failed = vec![
        (2, ItemFailure::InvalidInput),
        (3, ItemFailure::ModelFailed),
        (7, ItemFailure::ProcessHung),
    ];
    engine.handle_outcome(at(1), sent.batch, BatchOutcome::Completed { failed });
    assert_eq!(
        answers(&mut engine),
        [
            (RequestId(1), answered(&[(2, ItemFailure::InvalidInput)])),
            (
                RequestId(2),
                answered(&[(0, ItemFailure::ModelFailed), (4, ItemFailure::ProcessHung)])
            ),
        ]
    );
}

#[test]
fn failures_of_positions_that_do_not_exist_or_repeat_are_suppressed() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 2)).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    let failed = [0, 0, 2, 900]
        .map(|position| (position, ItemFailure::ModelFailed))
        .to_vec();
    engine.handle_outcome(at(1), sent.batch, BatchOutcome::Completed { failed });
    assert_eq!(
        answers(&mut engine),
        [(RequestId(1), answered(&[(0, ItemFailure::ModelFailed)]))]
    );
    let suppressed = events(&mut engine)
        .into_iter()
        .filter(|event| *event == Event::DuplicateSuppressed);
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

/// Sends `items` items as one batch to a function that fails whenever one of `guilty` is in it; gives invocations and failures.
fn bisect(items: u32, guilty: &[u32]) -> (usize, Vec<(u32, ItemFailure)>) {
    let plan = ServingPlan {
        max_batch_size: items,
        max_request_payload_bytes: 1 << 20,
        max_response_payload_bytes: 1 << 20,
        ..none()
    };
    let mut world = World::new(
        vec![plan],
        Box::new(|_, dispatch, _| {
            let is_poisoned = !positions(dispatch, |_, item| guilty.contains(&item)).is_empty();
            (
                if is_poisoned {
                    BatchOutcome::FunctionError
                } else {
                    completed()
                },
                ms(5),
            )
        }),
    );
    world.arrive(at(0), request(1, items));
    world.run(10_000);
    world.check_finished();
    let gateway_policy::RequestOutcome::Answered { failed } = world.answers[&RequestId(1)].1.clone() else {
        panic!("no deadline was set");
    };
    (world.dispatched.len(), failed)
}

#[test]
fn one_poison_item_in_64_fails_alone() {
    for guilty in [0, 17, 63] {
        let (invocations, failed) = bisect(64, &[guilty]);
        assert_eq!(failed, [(guilty, ItemFailure::FunctionError)]);
        assert_eq!(invocations, 1 + 2 * 6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn bisection_finds_exactly_the_guilty_within_its_bound(items in 1_u32..200, seed in any::<u64>(), poison in 1_u64..=3) {
        let mut random = Random::new(seed);
        let mut guilty: Vec<u32> =
            (0..poison).map(|_| u32::try_from(random.below(u64::from(items))).unwrap()).collect();
        guilty.sort_unstable();
        guilty.dedup();
        let (invocations, failed) = bisect(items, &guilty);
        let expected: Vec<_> = guilty.iter().map(|&item| (item, ItemFailure::FunctionError)).collect();
        prop_assert_eq!(failed, expected);
        let levels = usize::try_from(items.next_power_of_two().trailing_zeros()).unwrap();
        prop_assert!(invocations <= 1 + 2 * levels * guilty.len(), "{} invocations", invocations);
    }
}

#[test]
fn poison_in_every_batch_in_flight_does_not_open_the_breaker() {
    let plan = ServingPlan {
        max_batch_size: 32,
        max_in_flight: 40,
        queue_capacity_items: 10_000,
        ..plan(PackingPolicy::Fifo)
    };
    let mut world = World::new(
        vec![plan],
        Box::new(|_, dispatch, _| {
            let is_poisoned = !positions(dispatch, |request, _| request.0 % 32 == 5).is_empty();
            (
                if is_poisoned {
                    BatchOutcome::FunctionError
                } else {
                    completed()
                },
                ms(5),
            )
        }),
    );
    for id in 0..32 * 40 {
        world.arrive(at(0), request(id, 1));
    }
    world.run(10_000);
    world.check_finished();
    assert_eq!(world.succeeded(), 31 * 40);
}

#[test]
fn a_dead_function_fails_fast_and_a_revived_one_is_bisected_again() {
    let died_until = at(1_000);
    let plan = ServingPlan {
        max_batch_size: 64,
        queue_capacity_items: 100_000,
        queue_capacity_bytes: 1 << 30,
        ..plan(PackingPolicy::Fifo)
    };
    let mut world = World::new(
        vec![plan],
        Box::new(move |now, dispatch, _| {
            let is_poisoned = !positions(dispatch, |request, _| request.0 == 6_400 + 90).is_empty();
            (
                if now < died_until || is_poisoned {
                    BatchOutcome::FunctionError
                } else {
                    completed()
                },
                ms(1),
            )
        }),
    );
    for id in 0..6_400 {
        world.arrive(at(id / 32), request(id, 1));
    }
    for id in 6_400..6_400 + 640 {
        world.arrive(at(1_000 + (id - 6_400) / 32), request(id, 1));
    }
    world.run(100_000);
    world.check_finished();
    let while_dead = world
        .dispatched
        .iter()
        .filter(|dispatch| ids(dispatch)[0] < 6_400)
        .count();
    // 100 batches and more, each tried once, and what the breaker let be bisected: 16 + 4 in flight, two halves each.
    let batches = world
        .dispatched
        .iter()
        .filter(|dispatch| dispatch.parent.is_none() && ids(dispatch)[0] < 6_400)
        .count();
    assert!(
        while_dead <= batches + 2 * (16 + 4),
        "{while_dead} invocations for {batches} batches"
    );
    assert_eq!(world.succeeded(), 639);
}

#[test]
fn an_answer_that_is_too_large_is_halved_and_remembered() {
    // 300 bytes per answer in truth, 100 by estimate, 2,000 fit.
    let plan = ServingPlan {
        max_batch_size: 16,
        max_response_payload_bytes: 2_000,
        ..plan(PackingPolicy::Fifo)
    };
    let mut world = World::new(
        vec![plan],
        Box::new(|_, dispatch, _| {
            let outcome = if dispatch.items * 300 > 2_000 {
                BatchOutcome::TooLarge(TooLarge::Response)
            } else {
                completed()
            };
            (outcome, ms(5))
        }),
    );
    for id in 0..320 {
        world.arrive(at(id * 2), request(id, 1));
    }
    world.run(10_000);
    world.check_finished();
    assert_eq!(world.succeeded(), 320);
    let wasted = world
        .dispatched
        .iter()
        .filter(|dispatch| dispatch.items * 300 > 2_000)
        .count();
    assert!(
        wasted <= 6,
        "{wasted} of {} answers were lost",
        world.dispatched.len()
    );
}

#[test]
fn one_item_that_is_too_large_by_itself_says_so() {
    for (which, failure) in [
        (TooLarge::Response, ItemFailure::ResponseTooLarge),
        (TooLarge::Request, ItemFailure::RequestTooLarge),
    ] {
        let mut world = World::new(
            vec![none()],
            Box::new(move |_, dispatch, _| {
                let is_huge = !positions(dispatch, |_, item| item == 4).is_empty();
                (
                    if is_huge {
                        BatchOutcome::TooLarge(which)
                    } else {
                        completed()
                    },
                    ms(5),
                )
            }),
        );
        world.arrive(at(0), request(1, 8));
        world.run(1_000);
        world.check_finished();
        assert_eq!(world.answers[&RequestId(1)].1, answered(&[(4, failure)]));
    }
}

#[test]
fn a_half_that_is_throttled_is_retried_like_any_batch() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 2)).unwrap();
    let whole = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(1), whole.batch, BatchOutcome::FunctionError);
    let halves = dispatches(&mut engine);
    assert_eq!(halves.len(), 2);
    assert!(
        halves
            .iter()
            .all(|half| half.reason == CloseReason::Bisect && half.parent == Some(whole.batch))
    );
    engine.handle_outcome(at(2), halves[0].batch, completed());
    engine.handle_outcome(at(2), halves[1].batch, throttled());
    let (wake, _) = engine.poll_timeout().unwrap();
    engine.handle_timeout(wake);
    let again = dispatches(&mut engine).remove(0);
    assert_eq!((again.parts[0].first_item, again.items, again.attempt), (1, 1, 2));
    engine.handle_outcome(wake, again.batch, completed());
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[]))]);
}

#[test]
fn an_absurd_retry_after_stops_nothing_for_hours() {
    let mut engine = engine(none());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    let outcome = BatchOutcome::Throttled {
        retry_after: Some(Duration::from_secs(1 << 40)),
    };
    engine.handle_outcome(at(0), first.batch, outcome);
    assert!(engine.poll_timeout().unwrap().0 <= at(60_000));
}
