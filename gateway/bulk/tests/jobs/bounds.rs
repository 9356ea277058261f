//! Time, dollars and the caller's will: each ends a job in order.

use std::time::Duration;

use gateway_bulk::{BulkError, JobId, JobState, Owner, unix_millis};

use crate::support::{Function, expected, usd_per_invocation, world};

#[tokio::test]
async fn max_usd_is_never_passed_and_more_of_it_goes_on() {
    let world = world().await;
    let function = Function::echo();
    let mut spec = world.spec(&world.input(1000));
    spec.max_usd = Some(usd_per_invocation() * 30.5);
    let job = world.run_new(&spec, &function).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.failure.as_ref().unwrap().code, "budget_exhausted");
    assert!(job.cost.usd <= spec.max_usd.unwrap(), "{} of {:?}", job.cost.usd, spec.max_usd);
    assert_eq!(job.cost.invocations, 30);
    assert_eq!(job.counts.completed, 300);
    let job = world.store.set_wish(&Owner::local(), &job.id, None, None).await.unwrap();
    let job = world.run(&job, &function).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(function.calls(), 100, "nothing is paid for twice");
    assert_eq!(world.sorted_output(), expected(1000, &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_takes_effect_within_one_batch_and_keeps_what_was_answered() {
    let world = world().await;
    let function = Function::echo().taking(Duration::from_millis(100));
    let job = world.create(&world.spec(&world.input(5000))).await;
    let canceller = {
        let (store, id, function) = (world.store.clone(), job.id.clone(), function.clone());
        tokio::spawn(async move {
            while function.calls() < 12 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            store.cancel(&Owner::local(), &id).await.unwrap()
        })
    };
    let job = world.run(&job, &function).await;
    assert_eq!(canceller.await.unwrap().state, JobState::Cancelling);
    assert_eq!(job.state, JobState::Cancelled);
    assert!(function.calls() < 60, "{} invocations of 500", function.calls());
    assert_eq!(job.counts.completed, job.cost.invocations * 10, "all that was paid for is in the output");
    assert_eq!(world.sorted_output().len() as u64, job.counts.completed);
}

#[tokio::test]
async fn a_job_cancelled_before_it_ran_invokes_nothing() {
    let world = world().await;
    let function = Function::echo();
    let job = world.create(&world.spec(&world.input(50))).await;
    world.store.cancel(&Owner::local(), &job.id).await.unwrap();
    let job = world.run(&job, &function).await;
    assert_eq!((job.state, function.calls()), (JobState::Cancelled, 0));
    assert_eq!(world.read("out.jsonl"), "");
}

#[tokio::test]
async fn an_expired_job_names_every_line_that_was_not_run() {
    let world = world().await;
    let function = Function::echo().taking(Duration::from_millis(50));
    let mut spec = world.spec(&world.input(2000));
    spec.expires_at = Some(unix_millis() + 700);
    let job = world.run_new(&spec, &function).await;
    assert_eq!(job.state, JobState::Expired);
    assert!(job.counts.completed > 0 && job.counts.failed > 0);
    assert_eq!(job.counts.completed + job.counts.failed, 2000);
    let errors = world.errors();
    assert_eq!(errors.len() as u64, job.counts.failed);
    assert!(errors.iter().all(|(line, id, code)| code == "expired" && *id == format!("i{}", line - 1)));
    let given_up: Vec<usize> =
        errors.iter().map(|(line, _, _)| usize::try_from(*line).unwrap() - 1).collect();
    assert_eq!(world.sorted_output(), expected(2000, &given_up));
}

#[tokio::test]
async fn a_repeated_id_is_refused_with_both_lines_before_anything_is_invoked() {
    let world = world().await;
    let path = world.path("in.jsonl");
    let lines = ["a", "b", "c", "b"].map(|id| format!("{{\"id\":\"{id}\",\"text\":\"t\"}}\n")).concat();
    std::fs::write(&path, lines).unwrap();
    let function = Function::echo();
    let job = world.run_new(&world.spec(&path), &function).await;
    assert_eq!((job.state, function.calls()), (JobState::Failed, 0));
    let failure = job.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.problems[0].line), ("duplicate_id", 4));
    assert!(failure.message.contains("line 4") && failure.message.contains("line 2"), "{}", failure.message);
}

#[tokio::test]
async fn a_strict_job_is_refused_for_a_line_that_does_not_decode_and_another_job_is_not() {
    let world = world().await;
    let path = world.path("in.jsonl");
    std::fs::write(
        &path,
        "{\"id\":\"a\",\"text\":\"t\"}\nnonsense\n\n{\"id\":\"d\"}\n{\"id\":\"e\",\"text\":7}\n",
    )
    .unwrap();
    let mut spec = world.spec(&path);
    spec.is_strict = true;
    let job = world.run_new(&spec, &Function::echo()).await;
    let failure = job.failure.unwrap();
    let lines: Vec<u64> = failure.problems.iter().map(|problem| problem.line).collect();
    assert_eq!((failure.code.as_str(), lines), ("invalid_input", vec![2, 4, 5]));
    spec.is_strict = false;
    let job = world.run_new(&spec, &Function::echo()).await;
    assert_eq!((job.state, job.counts.total), (JobState::Completed, 4), "a blank line is none");
    let invalid = |line, id: &str| (line, id.to_owned(), "invalid_line".to_owned());
    assert_eq!(world.errors(), [invalid(2, "2"), invalid(4, "d"), invalid(5, "e")]);
}

#[tokio::test]
async fn a_strangers_job_is_not_found() {
    let world = world().await;
    let job = world.create(&world.spec(&world.input(1))).await;
    let stranger = Owner("somebody else".to_owned());
    assert!(matches!(world.store.job(&stranger, &job.id).await, Err(BulkError::NotFound { .. })));
    assert!(matches!(world.store.cancel(&stranger, &job.id).await, Err(BulkError::NotFound { .. })));
    assert!(world.store.jobs(&stranger, None, 10).await.unwrap().is_empty());
    assert!(JobId::parse("batch_1").is_none(), "ids have 128 bits");
}
