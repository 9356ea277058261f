//! Situations with bands: a cap on concurrency, more load than the function carries, a burst.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::time::Duration;

use gateway_contract::{ModelId, PackingPolicy, ServingPlan};
use gateway_policy::{BatchOutcome, Event, RequestMeta, RequestOutcome};
use harness::{Random, World, answered, at, completed, ms, plan, request};

/// A load of single items every `gap_micros`, for `seconds`.
fn load(world: &mut World<'_>, gap_micros: u64, seconds: u64, deadline: Option<Duration>) {
    let mut random = Random::new(7);
    let mut now = 0;
    let mut id = 0;
    while now < seconds * 1_000_000 {
        now += random.below(2 * gap_micros + 1);
        let time = at(0) + Duration::from_micros(now);
        let meta = RequestMeta { deadline: deadline.map(|wait| time + wait), ..request(id, 1) };
        world.arrive(time, meta);
        id += 1;
    }
}

fn large_queue(packing: PackingPolicy) -> ServingPlan {
    ServingPlan {
        queue_capacity_items: 100_000,
        queue_capacity_bytes: 1 << 30,
        max_request_payload_bytes: 1 << 20,
        max_response_payload_bytes: 1 << 20,
        ..plan(packing)
    }
}

/// Runs a saturating load against a function that allows `cap` invocations of 100 ms at once. Gives goodput over the cap's and
/// invocations per batch that was executed.
fn against_a_cap(cap: u32, window: u32, retry_after: Option<Duration>) -> (f64, f64) {
    let mut plan =
        ServingPlan { max_in_flight: window, max_batch_size: 4, ..large_queue(PackingPolicy::Fifo) };
    (plan.retry.budget_ratio, plan.retry.budget_min_per_second) = (0.1, 1.0);
    let executing = std::cell::RefCell::new(Vec::<gateway_contract::Timestamp>::new());
    let mut world = World::new(
        vec![plan],
        Box::new(|now, _, _| {
            let mut executing = executing.borrow_mut();
            executing.retain(|end| *end > now);
            if executing.len() < cap as usize {
                executing.push(now + ms(100));
                (completed(), ms(100))
            } else {
                (BatchOutcome::Throttled { retry_after }, ms(3))
            }
        }),
    );
    let seconds = 20;
    let capacity = f64::from(cap) * 4.0 * 10.0;
    load(&mut world, 1_000_000 / u64::from(cap * 4 * 10) * 2 / 3, seconds, None);
    world.run(1_000_000);
    assert_eq!(world.succeeded(), world.admitted.len(), "a throttle is no reason to fail");
    let until = at(seconds * 1_000);
    let good =
        world.answers.values().filter(|(time, outcome)| *time <= until && *outcome == answered(&[])).count();
    let executed = world.dispatched.iter().filter(|dispatch| dispatch.attempt == 1).count();
    (good as f64 / (capacity * seconds as f64), world.dispatched.len() as f64 / executed as f64)
}

#[test]
fn goodput_stays_near_a_concurrency_cap_without_a_retry_storm() {
    for (cap, window) in [(4, 16), (8, 32), (8, 9), (20, 64), (50, 100)] {
        for retry_after in [None, Some(ms(100))] {
            let (goodput, invocations) = against_a_cap(cap, window, retry_after);
            assert!(goodput >= 0.95, "goodput {goodput:.3} of cap {cap}, window {window}, {retry_after:?}");
            assert!(invocations <= 1.2, "{invocations:.3} invocations per batch, cap {cap}, window {window}");
        }
    }
}

/// A function whose batches take 8 ms + 1 ms per item, 2 at once, under `times` the load that it carries with full batches.
fn overload(packing: PackingPolicy, times: u64, deadline: Option<Duration>) -> (f64, f64) {
    let plan = ServingPlan { max_in_flight: 2, max_batch_size: 32, ..large_queue(packing) };
    let mut world = World::new(
        vec![plan],
        Box::new(|_, dispatch, _| (completed(), ms(8) + ms(u64::from(dispatch.items)))),
    );
    let seconds = 10;
    let capacity_per_second = 2.0 * 32.0 / 0.040;
    load(&mut world, 625 / times, seconds, deadline);
    world.run(1_000_000);
    world.check_finished();
    let until = at(seconds * 1_000);
    let good = world.answers.values().filter(|(time, outcome)| *time <= until && *outcome == answered(&[]));
    let items: u32 = world.dispatched.iter().map(|dispatch| dispatch.items).sum();
    let fill = f64::from(items) / world.dispatched.len() as f64;
    (good.count() as f64 / (capacity_per_second * seconds as f64), fill)
}

#[test]
fn goodput_is_flat_under_five_times_the_load() {
    for deadline in [ms(100), ms(300), ms(2_000)] {
        for times in [2, 5] {
            let (goodput, fill) = overload(PackingPolicy::Deadline, times, Some(deadline));
            assert!(goodput >= 0.9, "goodput {goodput:.3} at {times} times the load, deadline {deadline:?}");
            assert!(fill >= 28.0, "fill {fill:.1} at {times} times the load, deadline {deadline:?}");
        }
    }
}

#[test]
fn missed_objectives_do_not_make_tiny_batches() {
    let (goodput, fill) = overload(PackingPolicy::Deadline, 2, None);
    assert!(goodput >= 0.95, "{goodput:.3}");
    assert!(fill >= 30.0, "{fill:.1}");
}

#[test]
fn at_moderate_load_objectives_are_met() {
    let plan = ServingPlan {
        max_queue_delay: ms(1_000),
        max_batch_size: 32,
        ..large_queue(PackingPolicy::Deadline)
    };
    let mut world = World::new(
        vec![plan],
        Box::new(|_, dispatch, _| (completed(), ms(8) + ms(u64::from(dispatch.items)))),
    );
    load(&mut world, 3_000, 10, None);
    world.run(1_000_000);
    world.check_finished();
    let late = world.answers.iter().filter(|(id, (time, _))| *time - world.admitted[*id].0 > ms(200)).count();
    assert_eq!(late, 0, "of {}", world.answers.len());
    let fill = world.admitted.len() as f64 / world.dispatched.len() as f64;
    assert!(fill >= 25.0, "the objective leaves time to fill batches: {fill:.1}");
}

#[test]
fn a_burst_is_worked_off_and_nothing_that_was_admitted_in_time_is_lost() {
    let plan = ServingPlan { max_in_flight: 4, max_batch_size: 16, ..large_queue(PackingPolicy::Deadline) };
    let mut world = World::new(
        vec![plan],
        Box::new(|_, dispatch, _| (completed(), ms(8) + ms(u64::from(dispatch.items)))),
    );
    for id in 0..1_000 {
        let deadline = Some(at(100 + 3_000));
        world.arrive(at(100), RequestMeta { deadline, ..request(id, 1) });
    }
    world.run(100_000);
    world.check_finished();
    assert_eq!(world.succeeded(), 1_000);
}

#[test]
fn one_models_dead_function_does_not_slow_another() {
    let dead = large_queue(PackingPolicy::Deadline);
    let healthy = ServingPlan { model: ModelId(1), ..dead.clone() };
    let mut world = World::new(
        vec![dead, healthy],
        Box::new(|_, dispatch, _| {
            if dispatch.model == ModelId(0) {
                (BatchOutcome::Throttled { retry_after: Some(ms(1_000)) }, ms(2))
            } else {
                (completed(), ms(12))
            }
        }),
    );
    for id in 0..2_000 {
        let model = ModelId(u16::try_from(id % 2).unwrap());
        let time = at(id);
        world.arrive(time, RequestMeta { model, deadline: Some(time + ms(400)), ..request(id, 1) });
    }
    world.run(1_000_000);
    world.check_finished();
    let good = |parity| {
        let mine = world.answers.iter().filter(|(id, _)| id.0 % 2 == parity);
        mine.filter(|(_, (_, outcome))| *outcome == answered(&[])).count()
    };
    assert_eq!((good(0), good(1)), (0, 1_000));
    let expired =
        world.answers.values().filter(|(_, outcome)| *outcome == RequestOutcome::DeadlineExceeded).count();
    let counted = world.events.iter().filter(|event| matches!(event, Event::DeadlineExceeded { .. })).count();
    assert_eq!(expired, counted);
}

#[test]
fn a_window_far_above_the_cap_fails_nobody_even_on_a_small_budget() {
    let mut plan = ServingPlan { max_in_flight: 100, max_batch_size: 4, ..large_queue(PackingPolicy::Fifo) };
    (plan.retry.budget_ratio, plan.retry.budget_min_per_second) = (0.1, 1.0);
    let mut executing = Vec::<gateway_contract::Timestamp>::new();
    let mut world = World::new(
        vec![plan],
        Box::new(move |now, _, _| {
            executing.retain(|end| *end > now);
            if executing.len() < 10 {
                executing.push(now + ms(100));
                (completed(), ms(100))
            } else {
                (BatchOutcome::Throttled { retry_after: None }, ms(3))
            }
        }),
    );
    // A burst that fills the window at once, then a load of two thirds of the cap.
    for id in 0..400 {
        world.arrive(at(1), request(1_000_000 + id, 1));
    }
    load(&mut world, 3_750, 10, None);
    world.run(1_000_000);
    world.check_finished();
    assert_eq!(world.succeeded(), world.admitted.len());
}

#[test]
fn batches_hold_few_length_classes_under_load_and_no_class_is_neglected() {
    let plan = ServingPlan { max_in_flight: 2, max_batch_size: 16, ..large_queue(PackingPolicy::Deadline) };
    let mut world = World::new(
        vec![plan],
        Box::new(|_, dispatch, _| (completed(), ms(8) + ms(u64::from(dispatch.items)))),
    );
    let mut random = Random::new(3);
    for id in 0..8_000 {
        // A quarter more than the function carries, in six classes.
        let time = at(0) + Duration::from_micros(id * 600);
        let class = u16::try_from(random.below(6)).unwrap();
        world.arrive(time, RequestMeta { class, deadline: Some(time + ms(600)), ..request(id, 1) });
    }
    world.run(1_000_000);
    world.check_finished();
    let classes_of = |dispatch: &gateway_policy::Dispatch| {
        let mut classes: Vec<u16> =
            dispatch.parts.iter().map(|part| world.admitted[&part.request].1.class).collect();
        classes.sort_unstable();
        classes.dedup();
        classes.len()
    };
    let loaded: Vec<usize> = world.dispatched.iter().skip(50).map(classes_of).collect();
    let mean = loaded.iter().sum::<usize>() as f64 / loaded.len() as f64;
    assert!(mean <= 2.0, "{mean:.2} classes per batch");
    let good = |class| {
        let mine = world.answers.iter().filter(|(id, _)| world.admitted[*id].1.class == class);
        mine.filter(|(_, (_, outcome))| *outcome == answered(&[])).count()
    };
    let counts: Vec<usize> = (0..6).map(good).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(least * 10 >= most * 8, "{counts:?}");
}
