//! What is let in and what is not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use gateway_contract::{ModelId, PackingPolicy, ServingPlan};
use gateway_policy::{Engine, ItemBytes, Rejection, RequestMeta};
use harness::{MODEL, at, completed, dispatches, engine, ms, plan, request};

fn busy() -> ServingPlan {
    ServingPlan {
        max_in_flight: 1,
        queue_capacity_items: 10,
        queue_capacity_bytes: 900,
        ..plan(PackingPolicy::Fifo)
    }
}

#[test]
fn a_model_without_a_plan_is_unknown() {
    let mut engine = engine(busy());
    let other = RequestMeta { model: ModelId(7), ..request(1, 1) };
    assert_eq!(engine.handle_request(at(0), other), Err(Rejection::UnknownModel));
    assert_eq!(Engine::default().handle_request(at(0), request(1, 1)), Err(Rejection::UnknownModel));
}

#[test]
fn impossible_requests_are_invalid() {
    let mut engine = engine(busy());
    let invalid = [
        request(1, 0),
        RequestMeta { item_bytes: ItemBytes::Each([1, 2].into()), ..request(1, 3) },
        request(1, 11),
        RequestMeta { item_bytes: ItemBytes::Uniform(901), ..request(1, 1) },
    ];
    for meta in invalid {
        assert_eq!(engine.handle_request(at(0), meta.clone()), Err(Rejection::InvalidRequest), "{meta:?}");
    }
    assert!(engine.is_idle());
}

#[test]
fn an_id_in_flight_is_refused_and_free_again_afterwards() {
    let mut engine = engine(ServingPlan { packing: PackingPolicy::None, ..busy() });
    engine.handle_request(at(0), request(1, 1)).unwrap();
    assert_eq!(engine.handle_request(at(0), request(1, 1)), Err(Rejection::InvalidRequest));
    let sent = dispatches(&mut engine);
    engine.handle_outcome(at(1), sent[0].batch, completed());
    assert_eq!(engine.handle_request(at(2), request(1, 1)), Ok(()));
}

#[test]
fn an_item_above_the_payload_bound_is_named() {
    let mut engine = engine(ServingPlan { max_request_payload_bytes: 500, ..busy() });
    let meta = RequestMeta { item_bytes: ItemBytes::Each([10, 500, 501].into()), ..request(1, 3) };
    assert_eq!(engine.handle_request(at(0), meta), Err(Rejection::ItemTooLarge { item: 2 }));
    let meta = RequestMeta { item_bytes: ItemBytes::Uniform(501), ..request(1, 1) };
    assert_eq!(engine.handle_request(at(0), meta), Err(Rejection::ItemTooLarge { item: 0 }));
}

#[test]
fn a_full_queue_sheds_by_items_and_lets_in_again_when_there_is_room() {
    let mut engine = engine(ServingPlan { queue_capacity_bytes: 1 << 20, ..busy() });
    engine.handle_request(at(0), request(1, 8)).unwrap();
    engine.handle_request(at(0), request(2, 8)).unwrap();
    assert_eq!(engine.handle_request(at(0), request(3, 2)), Ok(()));
    let shed = engine.handle_request(at(0), request(4, 1));
    assert!(matches!(shed, Err(Rejection::QueueFull { retry_after }) if retry_after >= ms(1)), "{shed:?}");
    let sent = dispatches(&mut engine);
    engine.handle_outcome(at(5), sent[0].batch, completed());
    assert_eq!(engine.handle_request(at(5), request(4, 1)), Ok(()));
}

#[test]
fn a_full_queue_sheds_by_bytes() {
    let mut engine = engine(busy());
    engine.handle_request(at(0), request(1, 8)).unwrap();
    engine.handle_request(at(0), request(2, 5)).unwrap();
    let meta = RequestMeta { item_bytes: ItemBytes::Uniform(401), ..request(3, 1) };
    assert!(matches!(engine.handle_request(at(0), meta), Err(Rejection::QueueFull { .. })));
    assert_eq!(engine.queue_depth(MODEL), (5, 500, Some(at(0))));
}

#[test]
fn a_deadline_before_the_earliest_answer_is_refused() {
    let mut engine = engine(busy());
    let until = |deadline| RequestMeta { deadline: Some(at(deadline)), ..request(deadline, 1) };
    assert_eq!(engine.handle_request(at(100), until(109)), Err(Rejection::DeadlineUnreachable));
    assert_eq!(engine.handle_request(at(100), until(110)), Ok(()));
}

#[test]
fn in_order_of_arrival_the_queue_ahead_counts() {
    let mut engine =
        engine(ServingPlan { queue_capacity_items: 1_000, queue_capacity_bytes: 1 << 20, ..busy() });
    engine.handle_request(at(0), request(1, 8)).unwrap();
    let first = dispatches(&mut engine);
    engine.handle_outcome(at(15), first[0].batch, completed());
    // One batch runs and four wait; each took 15 ms of late.
    for id in 2..7 {
        engine.handle_request(at(15), request(id, 8)).unwrap();
    }
    let until = |deadline| RequestMeta { deadline: Some(at(deadline)), ..request(100, 1) };
    assert_eq!(engine.handle_request(at(16), until(85)), Err(Rejection::DeadlineUnreachable));
    assert_eq!(engine.handle_request(at(16), until(86)), Ok(()));
}

#[test]
fn with_earliest_deadline_first_the_queue_ahead_does_not_count() {
    let packing = PackingPolicy::Deadline;
    let mut engine =
        engine(ServingPlan { packing, queue_capacity_items: 1_000, queue_capacity_bytes: 1 << 20, ..busy() });
    engine.handle_request(at(0), request(1, 8)).unwrap();
    let first = dispatches(&mut engine);
    engine.handle_outcome(at(15), first[0].batch, completed());
    for id in 2..7 {
        engine.handle_request(at(15), request(id, 8)).unwrap();
    }
    let urgent = RequestMeta { deadline: Some(at(85)), ..request(100, 1) };
    assert_eq!(engine.handle_request(at(16), urgent), Ok(()));
}

#[test]
fn a_draining_engine_admits_nothing() {
    let mut engine = engine(busy());
    engine.drain(at(0));
    assert_eq!(engine.handle_request(at(0), request(1, 1)), Err(Rejection::Draining));
}
