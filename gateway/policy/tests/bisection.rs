//! Batches that fail as a whole: bisection down to the guilty, its bounds, and payloads that are too large.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use gateway_contract::{ItemFailure, PackingPolicy, RequestId, ServingPlan};
use gateway_policy::{BatchOutcome, CloseReason, TooLarge};
use harness::{
    Random, World, answered, answers, at, completed, dispatches, engine, ids, ms, plan, positions, request,
};
use proptest::prelude::*;

fn none() -> ServingPlan {
    plan(PackingPolicy::None)
}

fn throttled() -> BatchOutcome {
    BatchOutcome::Throttled { retry_after: None }
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
            (if is_poisoned { BatchOutcome::FunctionError } else { completed() }, ms(5))
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
            (if is_poisoned { BatchOutcome::FunctionError } else { completed() }, ms(5))
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
            (if now < died_until || is_poisoned { BatchOutcome::FunctionError } else { completed() }, ms(1))
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
    let while_dead = world.dispatched.iter().filter(|dispatch| ids(dispatch)[0] < 6_400).count();
    // 100 batches and more, each tried once, and what the breaker let be bisected: 16 + 4 in flight, two halves each.
    let batches = world
        .dispatched
        .iter()
        .filter(|dispatch| dispatch.parent.is_none() && ids(dispatch)[0] < 6_400)
        .count();
    assert!(while_dead <= batches + 2 * (16 + 4), "{while_dead} invocations for {batches} batches");
    assert_eq!(world.succeeded(), 639);
}

#[test]
fn an_answer_that_is_too_large_is_halved_and_remembered() {
    // 300 bytes per answer in truth, 100 by estimate, 2,000 fit.
    let plan =
        ServingPlan { max_batch_size: 16, max_response_payload_bytes: 2_000, ..plan(PackingPolicy::Fifo) };
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
    let wasted = world.dispatched.iter().filter(|dispatch| dispatch.items * 300 > 2_000).count();
    assert!(wasted <= 6, "{wasted} of {} answers were lost", world.dispatched.len());
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
                (if is_huge { BatchOutcome::TooLarge(which) } else { completed() }, ms(5))
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
    assert!(halves.iter().all(|half| half.reason == CloseReason::Bisect && half.parent == Some(whole.batch)));
    engine.handle_outcome(at(2), halves[0].batch, completed());
    engine.handle_outcome(at(2), halves[1].batch, throttled());
    let (wake, _) = engine.poll_timeout().unwrap();
    engine.handle_timeout(wake);
    let again = dispatches(&mut engine).remove(0);
    assert_eq!((again.parts[0].first_item, again.items, again.attempt), (1, 1, 2));
    engine.handle_outcome(wake, again.batch, completed());
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[]))]);
}
