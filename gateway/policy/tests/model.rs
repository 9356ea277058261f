//! Random operations against a naive model of the data plane.
//!
//! The model keeps every waiting item in one list, sorts it anew for each decision and reads the rules word by word; it has no
//! slabs, no lazy deletion, no timers. After each operation the engine must have sent the same batches, given the same answers,
//! show the same gauges and want to be woken at the same time. Left out of the model: failed invocations and length classes, for which
//! the promises and the tests of each rule stand.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;
mod naive;

use gateway_contract::{
    BatchId, ItemFailure, PackingPolicy, PlanRevision, RequestId, ServingPlan, Timestamp,
};
use gateway_policy::{BatchOutcome, Engine, ItemBytes, Rejection, RequestMeta};
use harness::{MODEL, Random, answers, dispatches, ms, plan, request};
use naive::Naive;

fn any_plan(random: &mut Random, revision: u64) -> ServingPlan {
    let packing =
        [PackingPolicy::None, PackingPolicy::Fifo, PackingPolicy::Deadline, PackingPolicy::Deadline];
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
    let each: Vec<u32> = (0..items).map(|_| u32::try_from(random.below(200)).unwrap()).collect();
    let item_bytes =
        if random.one_in(2) { ItemBytes::Uniform(each[0]) } else { ItemBytes::Each(each.into()) };
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
    assert_eq!(sent, std::mem::take(&mut naive.sent), "batches, seed {seed}, step {step}");
    assert_eq!(answers(engine), std::mem::take(&mut naive.answers), "answers, seed {seed}, step {step}");
    let gauges = (naive.items(), naive.waiting_bytes(), naive.oldest());
    assert_eq!(engine.queue_depth(MODEL), gauges, "gauges, seed {seed}, step {step}");
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
                let Some(batch) =
                    naive.in_flight.keys().nth(usize::try_from(random.below(3)).unwrap()).copied()
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
                assert_eq!(admitted.is_ok(), expected, "{admitted:?}, seed {seed}, step {step}");
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
        engine.handle_outcome(now, BatchId(batch), BatchOutcome::Completed { failed: Vec::new() });
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
