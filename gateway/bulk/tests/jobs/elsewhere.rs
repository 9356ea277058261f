//! Jobs whose chunks a state machine runs: the same files as those of a job that runs here, whatever becomes of the machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_bulk::{Engine, Job, JobSpec, JobState, Owner, StepFunctions, run, stop_elsewhere};
use gateway_invoker::{InvokeError, Status};
use tokio::sync::watch;
use workers_protocol::{ItemError, ItemErrorCode};

use crate::machine::Machine;
use crate::support::{Act, Call, Function, World, expected, metering, world};

fn elsewhere(world: &World, spec: JobSpec, tolerated: u32) -> JobSpec {
    let to = StepFunctions {
        state_machine: "arn:aws:states:us-east-1:1:stateMachine:m".to_owned(),
        work: format!("file://{}", world.path("work").display()),
        tolerated_failure_percentage: tolerated,
    };
    JobSpec { engine: Engine::StepFunctions(to), ..spec }
}

/// Runs a job until it ends, or until `stop`.
async fn run_with(
    world: &World,
    job: &Job,
    local: &Function,
    machine: &Machine,
    stop: watch::Receiver<bool>,
) -> Job {
    let mut context = world.context(&job.spec, stop);
    context.executions = Some(Arc::new(machine.clone()));
    run(&world.store, &Owner::local(), &job.id, local.clone(), context).await.unwrap()
}

async fn run_to_end(world: &World, job: &Job, local: &Function, machine: &Machine) -> Job {
    let (_stop, stopped) = watch::channel(false);
    run_with(world, job, local, machine, stopped).await
}

/// Folders of a local work place stay, as S3 has none.
fn is_empty(folder: &std::path::Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

fn crash() -> InvokeError {
    let (error_type, message) = ("Runtime.ExitError".to_owned(), "it crashed".to_owned());
    InvokeError::Function { error_type, message, metering: metering(), request_id: None }
}

/// Refuses one item, crashes on another.
fn troubled() -> Function {
    Function::new(|call: &Call| {
        let texts = call.texts();
        if texts.iter().any(|text| text == "text 33") {
            return Act::Fail(crash());
        }
        let refused = texts.iter().position(|text| text == "text 71").map(|at| ItemError {
            id: call.request.ids[at],
            code: ItemErrorCode::ModelFailed,
            message: "refused".to_owned(),
        });
        Act::Echo(refused.into_iter().collect())
    })
}

/// Two hundred lines, one of which is no line.
fn input(world: &World) -> std::path::PathBuf {
    let path = world.input(200);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"text\":\"text 5\"", "\"text\":5", 1)).unwrap();
    path
}

#[tokio::test]
async fn a_state_machine_writes_what_this_process_writes_and_poison_is_found_here() {
    let here = world().await;
    let job = here.run_new(&here.spec(&input(&here)), &troubled()).await;
    assert_eq!(job.state, JobState::Completed);

    let world = world().await;
    for (is_sorted, tolerated) in [(false, 100), (true, 0)] {
        let mut spec = elsewhere(&world, world.spec(&input(&world)), tolerated);
        spec.output.is_sorted = is_sorted;
        let (local, remote) = (troubled(), troubled());
        let machine = Machine::new(&remote);
        let job = world.create(&spec).await;
        let job = run_to_end(&world, &job, &local, &machine).await;
        assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
        assert_eq!(world.sorted_output(), here.sorted_output());
        assert_eq!(world.errors(), here.errors());
        assert_eq!((job.counts.completed, job.counts.failed), (197, 3));
        assert_eq!((machine.starts(), remote.calls()), (1, 20), "every chunk once, whole");
        assert!((1..12).contains(&local.calls()), "one chunk of ten is halved here: {}", local.calls());
        assert!(job.cost.is_estimate && job.cost.invocations as usize == 19 + local.calls());
        let left = world.path("work").join(job.id.as_str());
        assert!(
            !left.join("manifest.json").exists() && is_empty(&left.join("requests")),
            "something is left"
        );
        assert!(is_empty(&left.join("answers")), "an answer is left");
    }
}

#[tokio::test]
async fn an_input_without_items_starts_nothing() {
    let world = world().await;
    let path = world.path("in.jsonl");
    std::fs::write(&path, "{\"id\":\"a\",\"text\":1}\n{\"id\":\"b\"}\n").unwrap();
    let (function, spec) = (Function::echo(), elsewhere(&world, world.spec(&path), 0));
    let machine = Machine::new(&function);
    let job = world.create(&spec).await;
    let job = run_to_end(&world, &job, &function, &machine).await;
    assert_eq!((job.state, job.counts.failed), (JobState::Completed, 2), "{:?}", job.failure);
    assert_eq!((machine.starts(), function.calls()), (0, 0));
}

#[tokio::test]
async fn who_was_stopped_finds_the_execution_again() {
    let world = world().await;
    let (local, remote) = (Function::echo(), Function::echo());
    let machine = Machine::new(&remote);
    machine.is_held.store(true, Ordering::SeqCst);
    let job = world.create(&elsewhere(&world, world.spec(&world.input(105)), 0)).await;
    let (stop, stopped) = watch::channel(false);
    let first = tokio::spawn({
        let (machine, starts) = (machine.clone(), machine.starts.clone());
        async move {
            until(|| starts.load(Ordering::SeqCst) == 1).await;
            stop.send_replace(true);
            machine.is_held.store(false, Ordering::SeqCst);
        }
    });
    let stopped = run_with(&world, &job, &local, &machine, stopped).await;
    first.await.unwrap();
    assert_eq!((stopped.state, stopped.counts.completed), (JobState::InProgress, 0));
    until(|| machine.status(&format!("{}-1", job.id)) == Some(Status::Succeeded)).await;
    let job = run_to_end(&world, &job, &local, &machine).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(world.sorted_output(), expected(105, &[]));
    assert_eq!((machine.starts(), remote.calls(), local.calls()), (1, 11, 0));
}

#[tokio::test]
async fn an_execution_that_ends_otherwise_fails_the_job_and_another_finishes_it() {
    let world = world().await;
    let (local, remote) = (Function::echo(), Function::echo());
    let machine = Machine::new(&remote);
    *machine.ends_with.lock().unwrap() = Some(("States.ItemReaderFailed", 4));
    let job = world.create(&elsewhere(&world, world.spec(&world.input(105)), 0)).await;
    let failed = run_to_end(&world, &job, &local, &machine).await;
    assert_eq!(failed.state, JobState::Failed);
    let failure = failed.failure.as_ref().unwrap();
    assert_eq!(failure.code, "execution_failed");
    assert!(failure.message.contains("States.ItemReaderFailed") && failed.can_go_on(), "{failure:?}");
    assert_eq!(failed.counts.completed, 40, "what was answered is kept");
    *machine.ends_with.lock().unwrap() = None;
    let job = run_to_end(&world, &job, &local, &machine).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(world.sorted_output(), expected(105, &[]));
    assert_eq!((machine.starts(), remote.calls(), local.calls()), (2, 11, 0), "no chunk twice");
}

#[tokio::test]
async fn answers_that_are_not_the_chunks_are_run_here() {
    let world = world().await;
    let (local, remote) = (Function::echo(), Function::echo());
    let machine = Machine::new(&remote);
    let job = world.create(&elsewhere(&world, world.spec(&world.input(105)), 0)).await;
    let answers = world.path("work").join(job.id.as_str()).join("answers");
    std::fs::create_dir_all(&answers).unwrap();
    std::fs::write(answers.join("20-10.json"), "{\"v\":1,\"batch\":99,\"ids\":[],\"outputs\":[]}").unwrap();
    let job = run_to_end(&world, &job, &local, &machine).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(world.sorted_output(), expected(105, &[]));
    assert_eq!((machine.skipped.load(Ordering::SeqCst), remote.calls(), local.calls()), (1, 10, 1));
}

#[tokio::test]
async fn cancelling_stops_the_execution_and_keeps_what_was_answered() {
    for is_followed in [true, false] {
        let world = world().await;
        let (local, remote) = (Function::echo(), Function::echo().taking(Duration::from_millis(20)));
        let machine = Machine::new(&remote);
        let job = world.create(&elsewhere(&world, world.spec(&world.input(2000)), 0)).await;
        let (stop, stopped) = watch::channel(false);
        let owner = Owner::local();
        let cancel = async {
            until(|| remote.calls() > 5).await;
            if !is_followed {
                stop.send_replace(true);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            world.store.cancel(&owner, &job.id).await.unwrap()
        };
        let (ended, _) = tokio::join!(run_with(&world, &job, &local, &machine, stopped), cancel);
        let ended = if is_followed {
            ended
        } else {
            assert_eq!(ended.state, JobState::InProgress);
            stop_elsewhere(&job.id, &machine).await.unwrap();
            run_to_end(&world, &job, &local, &machine).await
        };
        assert_eq!(ended.state, JobState::Cancelled);
        let name = format!("{}-1", job.id);
        assert!(matches!(machine.status(&name), Some(Status::Ended { .. })), "it was stopped");
        let answered = world.sorted_output().len();
        assert!((50..2000).contains(&answered) && answered as u64 == ended.counts.completed, "{answered}");
        assert_eq!(local.calls(), 0);
    }
}

#[tokio::test]
async fn a_job_elsewhere_is_refused_by_who_cannot_reach_it() {
    let world = world().await;
    let job = world.create(&elsewhere(&world, world.spec(&world.input(5)), 0)).await;
    let job = world.run(&job, &Function::echo()).await;
    let failure = job.failure.as_ref().unwrap();
    assert!(job.state == JobState::Failed && job.can_go_on(), "{failure:?}");
    assert!(failure.message.contains("state machine"), "{failure:?}");
}
