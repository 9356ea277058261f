//! What must hold for any load and any Lambda: exactly once, no batch above its plan, nothing lost, nothing waits for ever.
//!
//! Each case is a seed: it makes plans, arrivals, cancels and a Lambda that fails in every way. The harness checks as it goes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::time::Duration;

use gateway_contract::{
    ItemFailure, ModelId, PackingPolicy, PlanRevision, RequestId, ServingPlan, Timestamp,
};
use gateway_policy::{BatchOutcome, Dispatch, ItemBytes, RequestMeta, TooLarge};
use harness::{Random, World, ms, plan, request, rung};
use proptest::prelude::*;

fn any_plan(random: &mut Random, model: u16) -> ServingPlan {
    let packing = [PackingPolicy::None, PackingPolicy::Fifo, PackingPolicy::Deadline];
    let max_batch_size = [1, 3, 8, 20][usize::try_from(random.below(4)).unwrap()];
    ServingPlan {
        model: ModelId(model),
        packing: packing[usize::try_from(random.below(3)).unwrap()],
        max_batch_size,
        max_queue_delay: ms(random.below(40)),
        max_in_flight: 1 + u32::try_from(random.below(6)).unwrap(),
        queue_capacity_items: 60,
        queue_capacity_bytes: 6_000,
        max_request_payload_bytes: 300 + random.below(2_000),
        max_response_payload_bytes: 300 + random.below(2_000),
        slo_latency: ms(random.below(200)),
        rungs: vec![rung(2, "small"), rung(100, "large")],
        ..plan(PackingPolicy::Fifo)
    }
}

fn any_request(random: &mut Random, id: u64, models: u64, now: Timestamp) -> RequestMeta {
    let items = 1 + u32::try_from(if random.one_in(4) { random.below(30) } else { 0 }).unwrap();
    let mut any_bytes = || u32::try_from(random.below(250)).unwrap();
    let each: Vec<u32> = (0..items).map(|_| any_bytes()).collect();
    let uniform = any_bytes();
    RequestMeta {
        model: ModelId(u16::try_from(random.below(models)).unwrap()),
        item_bytes: if random.one_in(2) { ItemBytes::Uniform(uniform) } else { ItemBytes::Each(each.into()) },
        response_bytes_per_item: u32::try_from(random.below(150)).unwrap(),
        class: u16::try_from(random.below(4)).unwrap(),
        priority: u8::try_from(random.below(3)).unwrap(),
        deadline: random.one_in(2).then(|| now + ms(5 + random.below(300))),
        ..request(id, items)
    }
}

/// A Lambda that fails in every way, `faults` of 10 times.
fn any_outcome(random: &mut Random, dispatch: &Dispatch, faults: u64) -> (BatchOutcome, Duration) {
    let outcome = if random.below(10) >= faults {
        BatchOutcome::Completed { failed: Vec::new() }
    } else {
        match random.below(8) {
            0 => BatchOutcome::Throttled { retry_after: random.one_in(2).then(|| ms(random.below(50))) },
            1 => BatchOutcome::FunctionError,
            2 => BatchOutcome::TooLarge(TooLarge::Request),
            3 => BatchOutcome::TooLarge(TooLarge::Response),
            4 => BatchOutcome::Unknown,
            5 => BatchOutcome::Refused { permanent: random.one_in(3) },
            _ => {
                let failed = (0..dispatch.items).filter(|_| random.one_in(3));
                BatchOutcome::Completed { failed: failed.map(|at| (at, ItemFailure::ModelFailed)).collect() }
            }
        }
    };
    (outcome, ms(1 + random.below(40)))
}

/// Plans of each model by revision: the first is in force from the start, the others come while it runs.
fn any_plans(random: &mut Random) -> Vec<Vec<ServingPlan>> {
    let models = 1 + random.below(3);
    let revisions = 1 + random.below(4);
    let plan_of = |random: &mut Random, model, revision| ServingPlan {
        revision: PlanRevision(revision),
        ..any_plan(random, u16::try_from(model).unwrap())
    };
    (0..models)
        .map(|model| (0..revisions).map(|revision| plan_of(random, model, revision)).collect())
        .collect()
}

fn plan_of<'a>(plans: &'a [Vec<ServingPlan>], dispatch: &Dispatch) -> &'a ServingPlan {
    &plans[usize::from(dispatch.model.0)][usize::try_from(dispatch.revision.0).unwrap()]
}

fn run(seed: u64, faults: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let plans = any_plans(&mut random);
    let bounds = plans.clone();
    let most: u32 = plans.iter().flatten().map(|plan| plan.max_in_flight).sum();
    let mut lambda = Random::new(seed ^ 0xABCD);
    let first = plans.iter().map(|revisions| revisions[0].clone()).collect();
    let mut world = World::new(
        first,
        Box::new(move |_, dispatch, running| {
            assert!(
                dispatch.items <= plan_of(&bounds, dispatch).max_batch_size,
                "more items than the plan allows"
            );
            assert!(running < most, "more invocations than the windows allow");
            let expected = if dispatch.items <= 2 { "small" } else { "large" };
            assert_eq!(&*dispatch.qualifier, expected);
            any_outcome(&mut lambda, dispatch, faults)
        }),
    );
    let mut now = Timestamp::ZERO;
    for id in 0..120 {
        now = now + ms(random.below(8));
        let request = any_request(&mut random, id, plans.len() as u64, now);
        world.arrive(now, request);
        if random.one_in(8) {
            world.cancel(now + ms(random.below(60)), RequestId(id));
        }
    }
    for plan in plans.iter().flat_map(|revisions| revisions.iter().skip(1)) {
        let after = plan.revision.0 * 150 + random.below(100);
        world.change_plan(harness::at(after), plan.clone());
    }
    world.run(20_000);
    world.check_finished();
    // 120 requests, each batch at most 40 ms and four attempts: what takes a minute waits for ever.
    assert!(world.now < now + ms(60_000), "done only at {:?}", world.now);
    for dispatch in world.dispatched.iter().filter(|dispatch| dispatch.items > 1) {
        check_bytes(&world, plan_of(&plans, dispatch), dispatch);
    }
    world.log
}

/// No batch of more than one item is above the byte bounds of its plan.
fn check_bytes(world: &World<'_>, plan: &ServingPlan, dispatch: &Dispatch) {
    let (mut bytes, mut response_bytes) = (0, 0);
    for part in &dispatch.parts {
        let meta = &world.admitted[&part.request].1;
        response_bytes += u64::from(meta.response_bytes_per_item) * u64::from(part.items);
        bytes += match &meta.item_bytes {
            ItemBytes::Uniform(each) => u64::from(*each) * u64::from(part.items),
            ItemBytes::Each(each) => {
                let run = each.iter().skip(part.first_item as usize).take(part.items as usize);
                run.map(|&bytes| u64::from(bytes)).sum()
            }
        };
    }
    assert!(bytes <= plan.max_request_payload_bytes, "{bytes} in {dispatch:?}");
    assert!(response_bytes <= plan.max_response_payload_bytes, "{response_bytes} in {dispatch:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn every_promise_holds_under_every_fault(seed in any::<u64>(), faults in 0_u64..=10) {
        run(seed, faults);
    }

    #[test]
    fn equal_inputs_give_equal_logs(seed in any::<u64>()) {
        prop_assert_eq!(run(seed, 3), run(seed, 3));
    }
}
