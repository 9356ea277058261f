//! A plan that changes while requests wait and batches are in flight.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use gateway_contract::{Canary, HoldOut, PackingPolicy, PlanRevision, RequestId, ServingPlan};
use gateway_policy::BatchOutcome;
use harness::{MODEL, answered, answers, at, completed, dispatches, engine, ms, plan, request, rung};

fn fifo() -> ServingPlan {
    plan(PackingPolicy::Fifo)
}

fn slow() -> ServingPlan {
    ServingPlan { max_queue_delay: ms(10_000), slo_latency: ms(20_000), ..fifo() }
}

#[test]
fn what_waits_is_repacked_under_a_new_plan() {
    let mut engine = engine(slow());
    for id in 0..6 {
        engine.handle_request(at(0), request(id, 1)).unwrap();
    }
    assert_eq!(engine.poll_dispatch(), None);
    let next = ServingPlan {
        revision: PlanRevision(2),
        parent: Some(PlanRevision(1)),
        packing: PackingPolicy::Deadline,
        max_batch_size: 3,
        ..slow()
    };
    engine.handle_plan(at(1), next);
    let sent = dispatches(&mut engine);
    assert_eq!(sent.iter().map(|it| (it.items, it.revision)).collect::<Vec<_>>(), [(3, PlanRevision(2)); 2]);
}

#[test]
fn a_lower_capacity_loses_nothing_that_was_admitted() {
    let mut engine = engine(slow());
    for id in 0..7 {
        engine.handle_request(at(0), request(id, 1)).unwrap();
    }
    engine.handle_plan(
        at(1),
        ServingPlan { queue_capacity_items: 2, queue_capacity_bytes: 150, max_in_flight: 1, ..slow() },
    );
    assert_eq!(engine.queue_depth(MODEL).0, 7);
    assert!(engine.handle_request(at(2), request(50, 1)).is_err());
    engine.drain(at(3));
    assert_eq!(dispatches(&mut engine)[0].items, 7);
}

#[test]
fn a_batch_in_flight_is_retried_in_pieces_that_fit_the_new_plan() {
    let mut engine = engine(fifo());
    engine.handle_request(at(0), request(1, 8)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    engine.handle_plan(at(1), ServingPlan { revision: PlanRevision(2), max_batch_size: 3, ..fifo() });
    engine.handle_outcome(at(2), first.batch, BatchOutcome::Unknown);
    let (wake, _) = engine.poll_timeout().unwrap();
    engine.handle_timeout(wake);
    let again = dispatches(&mut engine);
    assert!(again.iter().all(|it| it.items <= 3 && it.revision == PlanRevision(2)), "{again:?}");
    assert_eq!(again.iter().map(|it| it.items).sum::<u32>(), 8);
    for dispatch in again {
        engine.handle_outcome(wake, dispatch.batch, completed());
    }
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[]))]);
}

#[test]
fn an_outcome_of_an_earlier_plan_still_counts() {
    let mut engine = engine(fifo());
    engine.handle_request(at(0), request(1, 8)).unwrap();
    let first = dispatches(&mut engine).remove(0);
    engine.handle_plan(
        at(1),
        ServingPlan { revision: PlanRevision(2), packing: PackingPolicy::None, ..fifo() },
    );
    engine.handle_outcome(at(2), first.batch, completed());
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[]))]);
}

#[test]
fn every_second_batch_that_fits_runs_on_the_canary_and_its_retry_does_not() {
    let canary = Some(Canary { rung: rung(2, "canary"), every: 2 });
    let mut engine =
        engine(ServingPlan { canary, packing: PackingPolicy::None, max_in_flight: 20, ..fifo() });
    for (id, items) in [(1, 1), (2, 2), (3, 3), (4, 1), (5, 1)] {
        engine.handle_request(at(0), request(id, items)).unwrap();
    }
    let sent = dispatches(&mut engine);
    let places: Vec<(&str, bool)> = sent.iter().map(|it| (&*it.qualifier, it.is_canary)).collect();
    let normal = ("small", false);
    assert_eq!(places, [normal, ("canary", true), ("large", false), normal, ("canary", true)]);
    engine.handle_outcome(at(1), sent[1].batch, BatchOutcome::Throttled { retry_after: None });
    engine.handle_timeout(at(2_000));
    let again = dispatches(&mut engine);
    assert_eq!((&*again[0].qualifier, again[0].is_canary, again[0].attempt), ("small", false, 2));
}

#[test]
fn a_run_of_single_items_goes_out_alone_one_after_the_other_and_then_no_more() {
    let hold_out = Some(HoldOut { rung: rung(1, "alone"), every_items: 8, run_items: 2 });
    let mut engine = engine(ServingPlan { hold_out, max_in_flight: 20, ..fifo() });
    engine.handle_request(at(0), request(1, 8)).unwrap();
    let first = dispatches(&mut engine);
    assert_eq!(
        (first.len(), first[0].items, first[0].is_hold_out),
        (1, 8, false),
        "the run is due after these"
    );
    engine.handle_request(at(1), request(2, 8)).unwrap();
    engine.handle_timeout(at(30));
    let second = dispatches(&mut engine);
    let told: Vec<_> = second.iter().map(|it| (&*it.qualifier, it.items, it.is_hold_out)).collect();
    assert_eq!(told, [("alone", 1, true), ("large", 7, false)], "one at a time");
    engine.handle_outcome(at(40), second[0].batch, BatchOutcome::Throttled { retry_after: None });
    engine.handle_timeout(at(2_000));
    let again = dispatches(&mut engine);
    assert_eq!((&*again[0].qualifier, again[0].is_hold_out, again[0].attempt), ("small", false, 2));
    for sent in first.iter().chain(&second[1..]).chain(&again) {
        engine.handle_outcome(at(2_010), sent.batch, completed());
    }
    engine.handle_request(at(3_000), request(3, 8)).unwrap();
    engine.handle_timeout(at(3_030));
    let alone: Vec<_> = dispatches(&mut engine).iter().map(|it| it.is_hold_out).collect();
    assert_eq!(alone, [true, false], "the next run was due since the eight items of the second request");
}

#[test]
fn no_item_runs_alone_in_the_last_slot() {
    let hold_out = Some(HoldOut { rung: rung(1, "alone"), every_items: 8, run_items: 7 });
    let mut engine = engine(ServingPlan { hold_out, max_in_flight: 2, ..fifo() });
    for id in 1..=3 {
        engine.handle_request(at(0), request(id, 8)).unwrap();
    }
    let sent: Vec<_> = dispatches(&mut engine).iter().map(|it| (it.items, it.is_hold_out)).collect();
    assert_eq!(sent, [(8, false), (8, false)]);
}
