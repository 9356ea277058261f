//! When batches close, and what goes into them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use gateway_contract::{PackingPolicy, ServingPlan};
use gateway_policy::{CloseReason, ItemBytes, RequestMeta, WakeReason};
use harness::{at, completed, dispatches, engine, ids, ms, plan, request};

fn fifo() -> ServingPlan {
    plan(PackingPolicy::Fifo)
}

fn deadline() -> ServingPlan {
    ServingPlan { max_queue_delay: ms(1_000), ..plan(PackingPolicy::Deadline) }
}

#[test]
fn a_full_batch_closes_at_once() {
    let mut engine = engine(fifo());
    for id in 0..7 {
        engine.handle_request(at(id), request(id, 1)).unwrap();
        assert_eq!(engine.poll_dispatch(), None);
    }
    engine.handle_request(at(7), request(7, 1)).unwrap();
    let sent = dispatches(&mut engine);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].items, sent[0].reason), (8, CloseReason::Full));
    assert_eq!(ids(&sent[0]), (0..8).collect::<Vec<_>>());
}

#[test]
fn oldest_request_closes_the_batch() {
    let mut engine = engine(fifo());
    engine.handle_request(at(100), request(1, 1)).unwrap();
    engine.handle_request(at(115), request(2, 1)).unwrap();
    assert_eq!(engine.poll_timeout(), Some((at(120), WakeReason::BatchCloses)));
    engine.handle_timeout(at(119));
    assert_eq!(engine.poll_dispatch(), None);
    engine.handle_timeout(at(120));
    let sent = dispatches(&mut engine);
    assert_eq!((sent[0].items, sent[0].reason), (2, CloseReason::Delay));
    assert_eq!(engine.poll_timeout(), None);
}

#[test]
fn request_bytes_close_the_batch() {
    let mut engine = engine(fifo());
    let large = |id| RequestMeta { item_bytes: ItemBytes::Uniform(4_000), ..request(id, 1) };
    engine.handle_request(at(0), large(1)).unwrap();
    engine.handle_request(at(0), large(2)).unwrap();
    assert_eq!(engine.poll_dispatch(), None);
    engine.handle_request(at(0), large(3)).unwrap();
    let sent = dispatches(&mut engine);
    assert_eq!((ids(&sent[0]), sent[0].reason), (vec![1, 2], CloseReason::Bytes));
    assert_eq!(engine.queue_depth(harness::MODEL), (1, 4_000, Some(at(0))));
}

#[test]
fn response_bytes_close_the_batch() {
    let mut engine = engine(fifo());
    let wordy = |id| RequestMeta { response_bytes_per_item: 3_000, ..request(id, 1) };
    for id in 0..4 {
        engine.handle_request(at(0), wordy(id)).unwrap();
    }
    let sent = dispatches(&mut engine);
    assert_eq!((sent[0].items, sent[0].reason), (3, CloseReason::Bytes));
}

#[test]
fn an_item_whose_answer_is_too_large_by_estimate_goes_alone() {
    let mut engine = engine(fifo());
    engine.handle_request(at(0), RequestMeta { response_bytes_per_item: 50_000, ..request(1, 2) }).unwrap();
    let sent = dispatches(&mut engine);
    assert_eq!(sent.iter().map(|dispatch| dispatch.items).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn without_batching_each_request_goes_at_once_and_alone() {
    let mut engine = engine(plan(PackingPolicy::None));
    engine.handle_request(at(0), request(1, 1)).unwrap();
    engine.handle_request(at(0), request(2, 3)).unwrap();
    engine.handle_request(at(0), request(3, 9)).unwrap();
    let sent = dispatches(&mut engine);
    let shape: Vec<_> = sent.iter().map(|dispatch| (ids(dispatch), dispatch.items)).collect();
    assert_eq!(shape, [(vec![1], 1), (vec![2], 3), (vec![3], 8), (vec![3], 1)]);
    assert!(sent.iter().all(|dispatch| dispatch.reason == CloseReason::Immediate));
}

#[test]
fn the_rung_follows_the_real_fill() {
    let mut engine = engine(fifo());
    engine.handle_request(at(0), request(1, 2)).unwrap();
    engine.handle_timeout(at(20));
    engine.handle_request(at(30), request(2, 3)).unwrap();
    engine.handle_timeout(at(50));
    let sent = dispatches(&mut engine);
    assert_eq!((&*sent[0].qualifier, &*sent[1].qualifier), ("small", "large"));
    assert_eq!((sent[0].service_time_upper, sent[1].service_time_upper), (ms(11), ms(12)));
}

#[test]
fn a_soft_deadline_closes_in_time_for_the_service_and_the_margin() {
    // 200 ms objective - 10 ms for one item - 2 ms margin.
    let mut engine = engine(deadline());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    assert_eq!(engine.poll_timeout(), Some((at(188), WakeReason::BatchCloses)));
    // Two items more take 2 ms longer.
    engine.handle_request(at(50), request(2, 2)).unwrap();
    assert_eq!(engine.poll_timeout(), Some((at(186), WakeReason::BatchCloses)));
    engine.handle_timeout(at(186));
    let sent = dispatches(&mut engine);
    assert_eq!((sent[0].items, sent[0].reason), (3, CloseReason::Deadline));
}

#[test]
fn a_hard_deadline_before_the_soft_one_closes_the_batch() {
    let mut engine = engine(deadline());
    engine.handle_request(at(0), request(1, 1)).unwrap();
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(80)), ..request(2, 1) }).unwrap();
    assert_eq!(engine.poll_timeout(), Some((at(67), WakeReason::BatchCloses)));
    engine.handle_timeout(at(67));
    let sent = dispatches(&mut engine);
    assert_eq!((sent[0].items, sent[0].latest_deadline), (2, None));
}

#[test]
fn a_large_newcomer_does_not_make_an_urgent_item_late() {
    let mut engine = engine(ServingPlan { max_batch_size: 100, ..deadline() });
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(40)), ..request(1, 1) }).unwrap();
    // With 60 items the batch would take 70 ms, and the first request's 40 ms would be missed.
    engine.handle_request(at(5), request(2, 60)).unwrap();
    let sent = dispatches(&mut engine);
    assert!(sent[0].items < 60, "{sent:?}");
    assert_eq!(ids(&sent[0])[0], 1);
    assert!(at(5) + sent[0].service_time_upper <= at(40));
}

#[test]
fn an_objective_that_cannot_be_met_does_not_shape_batches() {
    let mut engine = engine(ServingPlan { slo_latency: ms(5), max_queue_delay: ms(50), ..deadline() });
    for id in 0..4 {
        engine.handle_request(at(id), request(id, 1)).unwrap();
        assert_eq!(engine.poll_dispatch(), None);
    }
    assert_eq!(engine.poll_timeout(), Some((at(50), WakeReason::BatchCloses)));
}

#[test]
fn the_earliest_deadline_leads_when_more_waits_than_fits() {
    let mut engine = engine(ServingPlan { max_in_flight: 1, max_batch_size: 4, ..deadline() });
    engine.handle_request(at(0), request(100, 4)).unwrap();
    let first = dispatches(&mut engine);
    for id in 0..8 {
        let urgent = RequestMeta { deadline: Some(at(180 - 10 * id)), ..request(id, 1) };
        engine.handle_request(at(1), urgent).unwrap();
    }
    engine.handle_outcome(at(2), first[0].batch, completed());
    let next = dispatches(&mut engine);
    assert_eq!(ids(&next[0]), [7, 6, 5, 4]);
}

#[test]
fn priority_goes_before_deadline() {
    let mut engine = engine(ServingPlan { max_in_flight: 1, max_batch_size: 2, ..deadline() });
    engine.handle_request(at(0), request(100, 2)).unwrap();
    let first = dispatches(&mut engine);
    for (id, priority, deadline) in [(1, 5, 100), (2, 5, 101), (3, 0, 190), (4, 0, 189)] {
        let meta = RequestMeta { priority, deadline: Some(at(deadline)), ..request(id, 1) };
        engine.handle_request(at(1), meta).unwrap();
    }
    engine.handle_outcome(at(2), first[0].batch, completed());
    assert_eq!(ids(&dispatches(&mut engine)[0]), [4, 3]);
}

#[test]
fn the_rest_of_a_batch_comes_from_the_class_of_its_leader() {
    let mut engine = engine(ServingPlan { max_in_flight: 1, max_batch_size: 4, ..deadline() });
    engine.handle_request(at(0), request(100, 4)).unwrap();
    let first = dispatches(&mut engine);
    for id in 0..12 {
        let meta = RequestMeta { class: u16::try_from(id % 3).unwrap(), ..request(id, 1) };
        engine.handle_request(at(1 + id), meta).unwrap();
    }
    engine.handle_outcome(at(20), first[0].batch, completed());
    let next = dispatches(&mut engine);
    assert_eq!(ids(&next[0]), [0, 3, 6, 9], "the leader is 0, of class 0");
}

#[test]
fn the_class_of_the_leader_leaves_nobody_behind_who_must_go() {
    let mut engine = engine(ServingPlan { max_in_flight: 1, max_batch_size: 4, ..deadline() });
    engine.handle_request(at(0), request(100, 4)).unwrap();
    let first = dispatches(&mut engine);
    for id in 0..8 {
        let deadline = (id == 7).then(|| at(33));
        let (class, priority) = (u16::from(id == 7), u8::from(id == 7));
        engine.handle_request(at(1), RequestMeta { class, priority, deadline, ..request(id, 1) }).unwrap();
    }
    // A batch of 4 takes 13 ms and 2 ms margin: 7 has to go now, though its priority is lower.
    engine.handle_outcome(at(20), first[0].batch, completed());
    assert_eq!(ids(&dispatches(&mut engine)[0]), [0, 1, 2, 7]);
}

#[test]
fn everything_goes_together_when_it_fits_whatever_its_class() {
    let mut engine = engine(deadline());
    for id in 0..6 {
        let meta = RequestMeta { class: u16::try_from(id).unwrap(), ..request(id, 1) };
        engine.handle_request(at(0), meta).unwrap();
    }
    engine.handle_timeout(at(190));
    assert_eq!(dispatches(&mut engine)[0].items, 6);
}

#[test]
fn a_low_priority_is_served_in_the_end() {
    let mut engine = engine(ServingPlan {
        max_in_flight: 1,
        max_batch_size: 1,
        queue_capacity_items: 10_000,
        ..deadline()
    });
    engine.handle_request(at(0), request(0, 1)).unwrap();
    engine.handle_request(at(1), RequestMeta { priority: 9, ..request(1, 1) }).unwrap();
    let mut running = dispatches(&mut engine).remove(0).batch;
    // There is always one of a higher priority in the queue.
    for id in 2..3_000 {
        let now = at(10 * id);
        engine.handle_request(now, RequestMeta { priority: 0, ..request(id, 1) }).unwrap();
        engine.handle_request(now, RequestMeta { priority: 0, ..request(id + 100_000, 1) }).unwrap();
        engine.handle_outcome(now, running, completed());
        let next = dispatches(&mut engine).remove(0);
        if ids(&next) == [1] {
            assert!((10_000..11_000).contains(&(10 * id)), "ten queue delays: {id}");
            return;
        }
        running = next.batch;
        if id > 1_500 {
            break;
        }
    }
    panic!("starved");
}

#[test]
fn batches_grow_while_no_slot_is_free() {
    let mut engine = engine(ServingPlan { max_in_flight: 1, ..fifo() });
    engine.handle_request(at(0), request(0, 1)).unwrap();
    engine.handle_timeout(at(20));
    let first = dispatches(&mut engine);
    for id in 1..6 {
        engine.handle_request(at(20 + id), request(id, 1)).unwrap();
    }
    assert_eq!(engine.poll_timeout(), None, "only an outcome can change anything");
    engine.handle_timeout(at(100));
    assert_eq!(engine.poll_dispatch(), None);
    engine.handle_outcome(at(101), first[0].batch, completed());
    assert_eq!(dispatches(&mut engine)[0].items, 5);
}

#[test]
fn a_large_request_is_split_and_joined_again() {
    let mut engine = engine(fifo());
    engine.handle_request(at(0), request(1, 20)).unwrap();
    engine.handle_timeout(at(20));
    let sent = dispatches(&mut engine);
    let runs: Vec<_> = sent.iter().map(|it| (it.parts[0].first_item, it.items)).collect();
    assert_eq!(runs, [(0, 8), (8, 8), (16, 4)]);
    for dispatch in sent.iter().rev() {
        assert_eq!(engine.poll_answer(), None);
        engine.handle_outcome(at(30), dispatch.batch, completed());
    }
    assert_eq!(harness::answers(&mut engine), [(gateway_contract::RequestId(1), harness::answered(&[]))]);
}
