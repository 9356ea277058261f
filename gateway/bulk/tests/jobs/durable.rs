//! What survives: stops, drops at any await, takeovers, changed inputs; the same on SQLite and on PostgreSQL.

use std::time::Duration;

use gateway_bulk::{BulkError, FileId, Job, JobState, Owner, StoredFile, run, unix_millis};
use tokio::sync::watch;

use crate::postgres::Server;
use crate::support::{Act, Call, Function, TEXTS, World, expected, world, world_of};

/// Runs a job and drops it after a while, wherever it is: what a kill leaves behind, but for the page cache.
async fn run_and_drop(world: &World, job: &Job, function: &Function, after: Duration) {
    let (_stop, stopped) = watch::channel(false);
    let context = world.context(&job.spec, stopped);
    let owner = Owner::local();
    let running = run(&world.store, &owner, &job.id, function.clone(), context);
    let _cut_off = tokio::time::timeout(after, running).await;
}

async fn survives_drops(world: &World) {
    let function = Function::new(|call: &Call| {
        std::thread::sleep(Duration::from_millis(1));
        let is_poisoned = call.texts().iter().any(|text| text == "text 77");
        let crash = gateway_invoker::InvokeError::Function {
            error_type: String::new(),
            message: String::new(),
            metering: crate::support::metering(),
            request_id: None,
        };
        if is_poisoned { Act::Fail(crash) } else { Act::Echo(Vec::new()) }
    });
    let job = world.create(&world.spec(&world.input(3000))).await;
    for attempt in 0..20 {
        run_and_drop(world, &job, &function, Duration::from_millis(30 + attempt * 17 % 120)).await;
        // The tasks of a dropped run may hold the spool for a moment.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut job = job;
    for _ in 0..50 {
        let (_stop, stopped) = watch::channel(false);
        let context = world.context(&job.spec, stopped);
        match run(&world.store, &Owner::local(), &job.id, function.clone(), context).await {
            Ok(ended) => {
                job = ended;
                break;
            }
            Err(BulkError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    assert_eq!(world.sorted_output(), expected(3000, &[77]));
    assert_eq!(world.errors(), [(78, "i77".to_owned(), "function_error".to_owned())]);
    assert_eq!((job.counts.completed, job.counts.failed), (2999, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_dropped_at_twenty_moments_loses_and_doubles_nothing() {
    survives_drops(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_job_dropped_at_twenty_moments_loses_and_doubles_nothing() {
    if let Some(server) = Server::start() {
        survives_drops(&world_of(TEXTS, Some(server)).await).await;
    }
}

async fn stops_in_order(world: &World) {
    let function = Function::echo().taking(Duration::from_millis(10));
    let job = world.create(&world.spec(&world.input(800))).await;
    let (stop, stopped) = watch::channel(false);
    let stopper = {
        let function = function.clone();
        tokio::spawn(async move {
            while function.calls() < 10 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            stop.send_replace(true);
            stop
        })
    };
    let context = world.context(&job.spec, stopped);
    let job = run(&world.store, &Owner::local(), &job.id, function.clone(), context).await.unwrap();
    let _stop = stopper.await.unwrap();
    assert_eq!(job.state, JobState::InProgress);
    assert!(job.counts.completed >= 60 && job.counts.completed < 800, "{:?}", job.counts);
    let job = world.run(&job, &function).await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(
        function.calls(),
        80,
        "what was under way when it stopped was kept: nothing is paid for twice"
    );
    assert_eq!(world.sorted_output(), expected(800, &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_job_goes_on_without_paying_twice() {
    stops_in_order(&world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_stopped_job_goes_on_without_paying_twice() {
    if let Some(server) = Server::start() {
        stops_in_order(&world_of(TEXTS, Some(server)).await).await;
    }
}

async fn keeps_jobs_and_files(world: &World) {
    let (mine, theirs) = (Owner("mine".to_owned()), Owner("theirs".to_owned()));
    let spec = world.spec(&world.input(1));
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.store.create_job(&mine, &spec).await.unwrap());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    made.reverse();
    let first = world.store.jobs(&mine, None, 2).await.unwrap();
    let rest = world.store.jobs(&mine, Some(&first[1].id), 10).await.unwrap();
    assert_eq!([first, rest].concat(), made, "newest first, page by page");
    assert!(world.store.jobs(&theirs, None, 10).await.unwrap().is_empty());
    assert!(matches!(world.store.delete_job(&mine, &made[0].id).await, Err(BulkError::WrongState { .. })));
    assert_eq!(world.store.unfinished().await.unwrap().len(), 5);
    let file = StoredFile {
        id: FileId::random().unwrap(),
        owner: mine.clone(),
        purpose: "batch".to_owned(),
        name: "in.jsonl".to_owned(),
        bytes: 7,
        created_at: unix_millis(),
        expires_at: Some(unix_millis() - 1),
        path: world.path("in.jsonl"),
    };
    world.store.put_file(&file).await.unwrap();
    assert_eq!(world.store.file(&mine, &file.id).await.unwrap(), file);
    assert!(matches!(world.store.file(&theirs, &file.id).await, Err(BulkError::NotFound { .. })));
    assert!(matches!(world.store.delete_file(&theirs, &file.id).await, Err(BulkError::NotFound { .. })));
    assert_eq!(world.store.files(&mine, Some("batch"), None, 10).await.unwrap(), std::slice::from_ref(&file));
    assert_eq!(world.store.expired_files(unix_millis()).await.unwrap(), std::slice::from_ref(&file));
    world.store.delete_file(&mine, &file.id).await.unwrap();
    assert!(world.store.files(&mine, None, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn jobs_and_files_are_their_owners_alone() {
    keeps_jobs_and_files(&world().await).await;
}

#[tokio::test]
async fn on_postgres_jobs_and_files_are_their_owners_alone() {
    if let Some(server) = Server::start() {
        keeps_jobs_and_files(&world_of(TEXTS, Some(server)).await).await;
    }
}

#[tokio::test]
async fn a_job_has_one_runner_at_a_time() {
    let world = world().await;
    let function = Function::echo().taking(Duration::from_millis(300));
    let job = world.create(&world.spec(&world.input(10))).await;
    let (_stop, stopped) = watch::channel(false);
    let (one, two) = (world.context(&job.spec, stopped.clone()), world.context(&job.spec, stopped));
    let owner = Owner::local();
    let (one, two) = tokio::join!(
        run(&world.store, &owner, &job.id, function.clone(), one),
        run(&world.store, &owner, &job.id, function.clone(), two)
    );
    assert_eq!(one.unwrap().state, JobState::Completed);
    assert!(matches!(two, Err(BulkError::Busy { .. })));
    assert_eq!(function.calls(), 1);
}

#[tokio::test]
async fn another_input_than_it_began_with_is_refused() {
    let world = world().await;
    let mut spec = world.spec(&world.input(100));
    spec.max_usd = Some(crate::support::usd_per_invocation() * 3.5);
    let job = world.run_new(&spec, &Function::echo()).await;
    assert_eq!(job.counts.completed, 30);
    world.input(99);
    let job = world.store.set_wish(&Owner::local(), &job.id, None, None).await.unwrap();
    let job = world.run(&job, &Function::echo()).await;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.failure.unwrap().message.contains("changed"));
}

#[tokio::test]
async fn the_database_of_a_newer_build_is_left_alone() {
    let world = world().await;
    let url = format!("sqlite:{}", world.path("jobs.db").display());
    world.store.close().await;
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO bulk_schema (version) VALUES (99)").execute(&pool).await.unwrap();
    pool.close().await;
    let opened = gateway_bulk::Store::open(&url).await;
    assert!(matches!(opened, Err(BulkError::NewerSchema { found: 99, .. })), "{opened:?}");
}
