//! Jobs that nobody planned: their first chunks teach the plan for the rest.

use std::time::Duration;

use gateway_bulk::estimate::PlanBounds;
use gateway_bulk::{JobSpec, JobState, Learn, Owner};
use gateway_invoker::InvokeError;

use crate::support::{Act, Function, World, expected, metering, world};

/// Of 2,000 lines a twentieth.
const MOST_TAUGHT: usize = 100;

fn learning(world: &World, lines: usize, finish_within: Option<Duration>) -> JobSpec {
    let bounds = PlanBounds {
        memory_mib: vec![1024],
        process_count: None,
        chunk_items: None,
        parallelism: 8,
        longest_chunk: Duration::from_secs(300),
    };
    let learn = Some(Learn { bounds, qualifier: None });
    JobSpec { learn, finish_within, ..world.spec(&world.input(lines)) }
}

fn slow() -> Function {
    Function::echo().saying(Duration::from_millis(100))
}

#[tokio::test]
async fn first_chunks_are_answered_and_teach_the_plan_for_the_rest() {
    let world = world().await;
    let function = slow();
    let job = world.run_new(&learning(&world, 2000, None), &function).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    assert_eq!(world.sorted_output(), expected(2000, &[]));
    assert_eq!((job.counts.completed, job.counts.items), (2000, 2000));

    let sizes = function.sizes.lock().unwrap().clone();
    assert_eq!(sizes[..5], [1, 2, 8, 32, 4], "one place after the other");
    assert!(sizes[..5].iter().sum::<usize>() <= MOST_TAUGHT);
    let (chunk, rest) = (job.spec.chunk.max_items as usize, &sizes[5..]);
    assert!(rest.iter().all(|&size| size <= chunk), "{chunk} {rest:?}");
    assert_eq!(rest.len(), (2000_usize - 47).div_ceil(chunk));
    // 200 s of work, 1 s of INIT: 2 % more buy four environments, and each wants a whole share.
    assert!((3..=6).contains(&job.spec.parallelism), "{:?}", job.spec);
    let why = job.spec.why.as_ref().unwrap();
    assert!(job.spec.learn.is_none() && why.contains("learned from 5 first chunks"), "{why}");
    assert!(world.progress.take_plan().unwrap().contains(why.as_str()));
}

#[tokio::test]
async fn a_deadline_gets_more_at_a_time_and_what_is_learned_says_so() {
    let world = world().await;
    let within = Some(Duration::from_secs(60));
    let job = world.run_new(&learning(&world, 2000, within), &slow()).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    assert!((4..=5).contains(&job.spec.parallelism), "200 s in 60 s: {:?}", job.spec);
}

#[tokio::test]
async fn a_wish_that_cannot_be_kept_stops_after_the_first_chunks_and_another_goes_on() {
    let world = world().await;
    let function = slow();
    let job = world.create(&learning(&world, 2000, Some(Duration::from_secs(5)))).await;
    let failed = world.run(&job, &function).await;
    let failure = failed.failure.as_ref().unwrap();
    assert!(failure.code == "wish_impossible" && failed.can_go_on(), "{failure:?}");
    assert!(failure.message.contains("the fastest plan takes"), "{failure:?}");
    assert_eq!((failed.counts.completed, function.calls()), (47, 5));

    let minutes = Some(Duration::from_secs(600));
    world.store.set_wish(&Owner::local(), &job.id, minutes, None).await.unwrap();
    let job = world.run(&job, &function).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    assert_eq!(world.sorted_output(), expected(2000, &[]));
}

#[tokio::test]
async fn who_is_too_small_to_learn_or_learns_nothing_goes_by_the_configured_plan() {
    let world = world().await;
    let job = world.run_new(&learning(&world, 100, None), &slow()).await;
    assert_eq!((job.state, job.spec.chunk.max_items), (JobState::Completed, 10));
    assert!(job.spec.why.unwrap().contains("too small"));

    // A twentieth of 400 lines are chunks of 1, 2, 8 and 4 items.
    let (error_type, message) = ("Runtime.ExitError".to_owned(), "it crashed".to_owned());
    let crash = InvokeError::Function { error_type, message, metering: metering(), request_id: None };
    let taught: Vec<String> = (0..15).map(|line| format!("text {line}")).collect();
    let broken = Function::new(move |call| {
        let is_broken = call.texts().iter().any(|text| taught.contains(text));
        if is_broken { Act::Fail(crash.clone()) } else { Act::Echo(Vec::new()) }
    });
    let job = world.run_new(&learning(&world, 400, None), &broken).await;
    assert_eq!((job.state, job.spec.chunk.max_items), (JobState::Completed, 10), "{:?}", job.failure);
    assert_eq!((job.counts.failed, job.counts.completed), (15, 385));
    assert!(job.spec.why.unwrap().contains("taught nothing"));
}
