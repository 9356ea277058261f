//! Deadlines, cancels, drain: what happens around the batches.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use gateway_contract::{ModelId, PackingPolicy, PlanRevision, RequestId, ServingPlan, Timestamp};
use gateway_policy::{BatchOutcome, CloseReason, Engine, Event, RequestMeta, RequestOutcome, WakeReason};
use harness::{
    MODEL, World, answered, answers, at, completed, dispatches, engine, events, ids, ms, plan, request,
};

fn fifo() -> ServingPlan {
    plan(PackingPolicy::Fifo)
}

fn slow() -> ServingPlan {
    ServingPlan { max_queue_delay: ms(10_000), slo_latency: ms(20_000), ..fifo() }
}

#[test]
fn a_hard_deadline_fires_in_the_queue() {
    let mut engine = engine(slow());
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(50)), ..request(1, 2) }).unwrap();
    assert_eq!(engine.poll_timeout(), Some((at(50), WakeReason::RequestDeadline)));
    engine.handle_timeout(at(50));
    assert_eq!(answers(&mut engine), [(RequestId(1), RequestOutcome::DeadlineExceeded)]);
    assert_eq!(events(&mut engine), [Event::DeadlineExceeded { model: MODEL, in_queue: true }]);
    assert_eq!(engine.queue_depth(MODEL), (0, 0, None));
    assert!(engine.is_idle());
    assert_eq!(engine.poll_timeout(), None);
}

#[test]
fn a_hard_deadline_fires_in_flight_and_the_late_outcome_is_silent() {
    let mut engine = engine(plan(PackingPolicy::None));
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(50)), ..request(1, 2) }).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    assert_eq!(sent.latest_deadline, Some(at(50)));
    engine.handle_timeout(at(50));
    assert_eq!(answers(&mut engine), [(RequestId(1), RequestOutcome::DeadlineExceeded)]);
    assert!(!engine.is_idle(), "the invocation still runs");
    engine.handle_outcome(at(60), sent.batch, completed());
    assert_eq!(answers(&mut engine), []);
    assert!(engine.is_idle());
}

#[test]
fn an_outcome_after_the_deadline_does_not_beat_a_late_timer() {
    let mut engine = engine(plan(PackingPolicy::None));
    engine.handle_request(at(0), RequestMeta { deadline: Some(at(50)), ..request(1, 1) }).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(50), sent.batch, completed());
    assert_eq!(answers(&mut engine), [(RequestId(1), RequestOutcome::DeadlineExceeded)]);
}

#[test]
fn deadlines_that_are_not_in_order_fire_in_order() {
    let mut engine = engine(slow());
    for (id, deadline) in [(1, 90), (2, 40), (3, 70), (4, 100)] {
        engine.handle_request(at(0), RequestMeta { deadline: Some(at(deadline)), ..request(id, 1) }).unwrap();
    }
    let mut fired = Vec::new();
    while let Some((wake, _)) = engine.poll_timeout().filter(|(wake, _)| *wake < at(1_000)) {
        engine.handle_timeout(wake);
        fired.extend(answers(&mut engine).into_iter().map(|(id, _)| (wake, id.0)));
    }
    assert_eq!(fired, [(at(40), 2), (at(70), 3), (at(90), 1), (at(100), 4)]);
}

#[test]
fn a_cancelled_request_leaves_the_queue_and_the_gauges() {
    for packing in [PackingPolicy::Fifo, PackingPolicy::Deadline] {
        let mut engine = engine(ServingPlan { packing, ..slow() });
        engine.handle_request(at(1), request(1, 3)).unwrap();
        engine.handle_request(at(2), request(2, 2)).unwrap();
        engine.handle_cancel(at(3), RequestId(1));
        assert_eq!(engine.queue_depth(MODEL), (2, 200, Some(at(2))));
        assert_eq!(events(&mut engine), [Event::CancelledInQueue { model: MODEL }]);
        engine.drain(at(4));
        assert_eq!(ids(&dispatches(&mut engine)[0]), [2]);
    }
}

#[test]
fn a_cancel_in_flight_is_silent() {
    let mut engine = engine(plan(PackingPolicy::None));
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    engine.handle_cancel(at(1), RequestId(1));
    engine.handle_outcome(at(2), sent.batch, BatchOutcome::FunctionError);
    assert_eq!(answers(&mut engine), []);
    assert_eq!(engine.poll_dispatch(), None, "nobody waits for a second try");
    assert!(engine.is_idle());
}

#[test]
fn a_cancel_of_what_is_not_there_is_ignored() {
    let mut engine = engine(fifo());
    engine.handle_cancel(at(0), RequestId(9));
    engine.handle_request(at(0), request(1, 8)).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    engine.handle_outcome(at(1), sent.batch, completed());
    engine.handle_cancel(at(2), RequestId(1));
    assert_eq!(answers(&mut engine), [(RequestId(1), answered(&[]))]);
}

#[test]
fn many_cancels_leave_nothing_behind() {
    for packing in [PackingPolicy::Fifo, PackingPolicy::Deadline] {
        let mut engine = engine(ServingPlan { packing, max_batch_size: 500, ..slow() });
        // One request stays at the front, so that everything behind it has to be cleared away from the middle.
        engine.handle_request(at(0), request(0, 1)).unwrap();
        for id in 1..200_000 {
            engine
                .handle_request(at(1), RequestMeta { deadline: Some(at(5_000)), ..request(id, 1) })
                .unwrap();
            engine.handle_cancel(at(1), RequestId(id));
            while engine.poll_event().is_some() {}
        }
        assert_eq!(engine.queue_depth(MODEL), (1, 100, Some(at(0))));
        let size = format!("{engine:?}").len();
        assert!(size < 100_000, "{size} characters of state after {packing:?}");
    }
}

#[test]
fn drain_flushes_what_waits_and_ends_idle() {
    let mut engine = engine(ServingPlan { max_in_flight: 1, ..slow() });
    engine.handle_plan(at(0), ServingPlan { model: ModelId(1), packing: PackingPolicy::Deadline, ..slow() });
    engine.handle_request(at(0), request(1, 3)).unwrap();
    engine.handle_request(at(0), RequestMeta { model: ModelId(1), ..request(2, 2) }).unwrap();
    engine.drain(at(1));
    let sent = dispatches(&mut engine);
    assert_eq!(sent.iter().map(|it| it.reason).collect::<Vec<_>>(), [CloseReason::Drain; 2]);
    assert!(!engine.is_idle());
    for dispatch in sent {
        engine.handle_outcome(at(2), dispatch.batch, completed());
    }
    assert!(engine.is_idle());
    assert_eq!(engine.poll_timeout(), None);
    assert_eq!(answers(&mut engine).len(), 2);
}

#[test]
fn early_and_repeated_timeouts_change_nothing() {
    let run = |extra: bool| {
        let mut engine = engine(ServingPlan { packing: PackingPolicy::Deadline, ..fifo() });
        let mut log = Vec::new();
        for id in 0..100 {
            let now = at(3 * id);
            engine
                .handle_request(now, RequestMeta { deadline: Some(now + ms(60)), ..request(id, 1) })
                .unwrap();
            if extra {
                (0..3).for_each(|_| engine.handle_timeout(now));
            }
            while let Some((wake, _)) = engine.poll_timeout().filter(|(wake, _)| *wake <= at(3 * id + 3)) {
                engine.handle_timeout(wake);
            }
            for dispatch in dispatches(&mut engine) {
                log.push((ids(&dispatch), dispatch.reason));
                engine.handle_outcome(now, dispatch.batch, completed());
            }
        }
        log
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn recycled_part_lists_are_used_again() {
    let mut engine = engine(plan(PackingPolicy::None));
    engine.handle_request(at(0), request(1, 1)).unwrap();
    let sent = dispatches(&mut engine).remove(0);
    let (batch, mut parts) = (sent.batch, sent.parts);
    parts.reserve(777);
    engine.recycle(parts);
    engine.handle_outcome(at(1), batch, completed());
    engine.handle_request(at(1), request(2, 1)).unwrap();
    let next = dispatches(&mut engine).remove(0);
    assert!(next.parts.capacity() >= 777);
    assert_eq!(ids(&next), [2]);
}

#[test]
fn memory_is_flat_after_a_million_requests_with_faults_and_cancels() {
    let mut engine = Engine::default();
    engine.handle_plan(Timestamp::ZERO, ServingPlan { packing: PackingPolicy::Deadline, ..fifo() });
    let mut sizes = Vec::new();
    let mut revision = 1;
    for id in 0..1_000_000_u64 {
        let now = Timestamp::from_nanos(id * 1_000_000);
        let class = u16::try_from(id % 5).unwrap();
        engine
            .handle_request(now, RequestMeta { class, deadline: Some(now + ms(300)), ..request(id, 1) })
            .unwrap();
        if id % 10 == 0 {
            engine.handle_cancel(now, RequestId(id));
        }
        if id % 1_000 == 0 {
            revision += 1;
            let plan =
                ServingPlan { revision: PlanRevision(revision), packing: PackingPolicy::Deadline, ..fifo() };
            engine.handle_plan(now, plan);
        }
        if engine.poll_timeout().is_some_and(|(wake, _)| wake <= now) {
            engine.handle_timeout(now);
        }
        while let Some(dispatch) = engine.poll_dispatch() {
            let outcome = match dispatch.batch.0 % 50 {
                7 => BatchOutcome::FunctionError,
                8 => BatchOutcome::Throttled { retry_after: None },
                9 => BatchOutcome::Unknown,
                _ => completed(),
            };
            engine.handle_outcome(now, dispatch.batch, outcome);
            engine.recycle(dispatch.parts);
        }
        while engine.poll_answer().is_some() || engine.poll_event().is_some() {}
        if id % 200_000 == 199_999 {
            sizes.push(format!("{engine:?}").len());
        }
    }
    let (first, last) = (sizes[0], sizes[4]);
    assert!(last < 2 * first && last < 1_000_000, "{sizes:?}");
}

#[test]
fn the_agenda_of_a_mixed_day_ends_clean() {
    let mut world = World::new(vec![fifo()], Box::new(|_, _, _| (completed(), ms(30))));
    for id in 0..500 {
        world.arrive(at(id * 3), request(id, 1 + u32::try_from(id % 13).unwrap()));
        if id % 7 == 0 {
            world.cancel(at(id * 3 + 25), RequestId(id));
        }
    }
    world.run(10_000);
    world.check_finished();
    assert!(!world.cancelled.is_empty());
}
