//! What a function and Lambda can do to a job, and what becomes of its lines.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_bulk::JobState;
use gateway_invoker::{InvokeError, RefusedCause, ThrottleReason, UnknownCause};
use workers_protocol::{ItemError, ItemErrorCode};

use crate::support::{Act, Call, Function, expected, metering, usd_per_invocation, world};

fn crash() -> InvokeError {
    InvokeError::Function {
        error_type: "Runtime.ExitError".to_owned(),
        message: "it crashed".to_owned(),
        metering: metering(),
        request_id: None,
    }
}

#[tokio::test]
async fn every_line_is_answered_once_and_paid_for_once() {
    let world = world().await;
    let function = Function::echo();
    let job = world.run_new(&world.spec(&world.input(105)), &function).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(world.sorted_output(), expected(105, &[]));
    assert_eq!((job.counts.total, job.counts.completed, job.counts.failed), (105, 105, 0));
    assert_eq!(function.calls(), 11, "ten items an invocation");
    assert_eq!(job.cost.invocations, 11);
    assert!((job.cost.usd - 11.0 * usd_per_invocation()).abs() < 1e-12);
    assert!(world.errors().is_empty());
    let left: Vec<_> =
        std::fs::read_dir(world.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().starts_with("batch_")),
        "no spool is left: {left:?}"
    );
}

#[tokio::test]
async fn poison_lines_are_found_by_halves_and_named_in_the_error_file() {
    let world = world().await;
    let poison = ["text 3", "text 17", "text 18"];
    let function = Function::new(move |call: &Call| {
        let is_poisoned = call.texts().iter().any(|text| poison.contains(&text.as_str()));
        if is_poisoned { Act::Fail(crash()) } else { Act::Echo(Vec::new()) }
    });
    let job = world.run_new(&world.spec(&world.input(50)), &function).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(world.sorted_output(), expected(50, &[3, 17, 18]));
    let named = |line: usize| (line as u64 + 1, format!("i{line}"), "function_error".to_owned());
    assert_eq!(world.errors(), [named(3), named(17), named(18)]);
}

#[tokio::test]
async fn an_item_that_crashed_once_alone_is_not_blamed() {
    let world = world().await;
    let function =
        Function::new(|call: &Call| if call.n == 0 { Act::Fail(crash()) } else { Act::Echo(Vec::new()) });
    let job = world.run_new(&world.spec(&world.input(1)), &function).await;
    assert_eq!((job.counts.completed, job.counts.failed), (1, 0));
}

#[tokio::test]
async fn an_items_own_error_costs_only_its_line() {
    let world = world().await;
    let function = Function::new(|call: &Call| {
        let bad = call.texts().iter().position(|text| text == "text 7");
        let error = |at: usize| ItemError {
            id: call.request.ids[at],
            code: ItemErrorCode::InvalidInput,
            message: "too long".to_owned(),
        };
        Act::Echo(bad.map(error).into_iter().collect())
    });
    let job = world.run_new(&world.spec(&world.input(20)), &function).await;
    assert_eq!(job.counts.failed, 1);
    assert_eq!(function.calls(), 2, "nothing is run again");
    assert_eq!(world.errors(), [(8, "i7".to_owned(), "invalid_input".to_owned())]);
    assert_eq!(world.sorted_output(), expected(20, &[7]));
}

#[tokio::test]
async fn items_that_there_was_no_time_for_go_again() {
    let world = world().await;
    let function = Function::new(|call: &Call| {
        let late = call.request.ids.iter().skip(4).map(|&id| ItemError {
            id,
            code: ItemErrorCode::DeadlineExceeded,
            message: "no time".to_owned(),
        });
        Act::Echo(late.collect())
    });
    let job = world.run_new(&world.spec(&world.input(30)), &function).await;
    assert_eq!((job.state, job.counts.failed), (JobState::Completed, 0));
    assert_eq!(world.sorted_output(), expected(30, &[]));
}

#[tokio::test]
async fn throttled_chunks_wait_and_none_is_lost() {
    let world = world().await;
    let function = Function::new(|call: &Call| {
        if call.n.is_multiple_of(3) {
            let retry_after = Some(Duration::from_millis(20));
            Act::Fail(InvokeError::Throttled { reason: ThrottleReason::Concurrency, retry_after })
        } else {
            Act::Echo(Vec::new())
        }
    });
    let job = world.run_new(&world.spec(&world.input(60)), &function).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(world.sorted_output(), expected(60, &[]));
    assert_eq!(job.cost.invocations, 6, "what was throttled did not run and costs nothing");
    assert!(world.progress.snapshot().throttled > 0);
}

#[tokio::test]
async fn an_unknown_outcome_is_run_once_more_and_counted() {
    let world = world().await;
    let function = Function::new(|call: &Call| {
        let texts = call.texts();
        let is_lost = call.n == 0 || texts.contains(&"text 35".to_owned());
        let lost = InvokeError::Unknown { cause: UnknownCause::ConnectionLost };
        if is_lost { Act::Fail(lost) } else { Act::Echo(Vec::new()) }
    });
    let mut spec = world.spec(&world.input(40));
    spec.parallelism = 1;
    let job = world.run_new(&spec, &function).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(job.counts.unknown_outcomes, 2);
    assert_eq!(job.counts.failed, 10, "the chunk whose outcome stayed unknown");
    assert!(world.errors().iter().all(|(_, _, code)| code == "outcome_unknown"));
    assert_eq!(world.sorted_output(), expected(40, &(30..40).collect::<Vec<_>>()));
}

#[tokio::test]
async fn a_function_that_fails_on_everything_ends_the_job_before_it_costs_much() {
    let world = world().await;
    let function = Function::new(|_| Act::Fail(crash()));
    let job = world.run_new(&world.spec(&world.input(5000)), &function).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.failure.unwrap().code, "function_broken");
    assert!(function.calls() < 1000, "{} invocations", function.calls());
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_job_and_a_mended_one_goes_on() {
    let world = world().await;
    let refused = InvokeError::Refused { cause: RefusedCause::NotFound, message: "no such alias".to_owned() };
    let function = Function::new(move |_| Act::Fail(refused.clone()));
    let job = world.run_new(&world.spec(&world.input(30)), &function).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.failure.as_ref().unwrap().code, "refused");
    let job = world.run(&job, &Function::echo()).await;
    assert_eq!((job.state, job.failure), (JobState::Completed, None));
    assert_eq!(world.sorted_output(), expected(30, &[]));
}

#[tokio::test]
async fn an_answer_that_is_too_large_makes_chunks_smaller() {
    let world = world().await;
    let function = Function::new(|call: &Call| {
        let is_large = call.request.ids.len() > 3;
        let too_large = InvokeError::ResponseTooLarge { metering: metering() };
        if is_large { Act::Fail(too_large) } else { Act::Echo(Vec::new()) }
    });
    let mut spec = world.spec(&world.input(400));
    spec.parallelism = 1;
    let job = world.run_new(&spec, &function).await;
    assert_eq!((job.state, job.counts.failed), (JobState::Completed, 0));
    assert_eq!(world.sorted_output(), expected(400, &[]));
    let sizes = function.sizes.lock().unwrap();
    let large = sizes.iter().filter(|&&size| size > 3).count();
    assert!(large < 30, "later chunks are cut small from the start: {large} were too large");
}

#[tokio::test]
async fn no_more_than_the_parallelism_runs_at_a_time() {
    let world = world().await;
    let function = Function::echo().taking(Duration::from_millis(20));
    let job = world.run_new(&world.spec(&world.input(400)), &function).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(function.most_running.load(Ordering::SeqCst), 4);
}
