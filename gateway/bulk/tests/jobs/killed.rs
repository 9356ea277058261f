//! `kill -9` of a process that runs a job, at random moments.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gateway_bulk::{BulkError, JobState, Owner, Store, run};
use tokio::sync::watch;

use crate::support::{Act, Call, Function, TEXTS, World, expected};

/// Names the folder of the child's world.
const FOLDER: &str = "PENSTOCK_TEST_KILLED_FOLDER";
const LINES: usize = 20_000;
const POISON: usize = 14_321;

fn function() -> Function {
    let crash = gateway_invoker::InvokeError::Function {
        error_type: String::new(),
        message: "poison".to_owned(),
        metering: crate::support::metering(),
        request_id: None,
    };
    let script = move |call: &Call| {
        let is_poisoned = call.texts().contains(&format!("text {POISON}"));
        if is_poisoned { Act::Fail(crash.clone()) } else { Act::Echo(Vec::new()) }
    };
    Function::new(script).taking(Duration::from_millis(5))
}

/// What the child process does: goes on with the only job of the folder. Without the variable this is no test.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open_directory(folder.as_ref()).await.unwrap();
        let world = World::at(store, TEXTS);
        let job = world.store.jobs(&Owner::local(), None, 1).await.unwrap().remove(0);
        let (_stop, stopped) = watch::channel(false);
        let context = world.context_in(folder.as_ref(), &job.spec, stopped);
        let ended = run(&world.store, &Owner::local(), &job.id, function(), context).await;
        assert!(matches!(ended, Ok(_) | Err(BulkError::Busy { .. })), "{ended:?}");
    });
}

fn kills() -> u32 {
    std::env::var("PENSTOCK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[tokio::test]
async fn a_process_killed_at_random_moments_writes_what_an_undisturbed_one_writes() {
    let world = crate::support::world().await;
    let job = world.create(&world.spec(&world.input(LINES))).await;
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["killed::child_that_is_killed", "--exact"])
            .env(FOLDER, world.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    // The moments have to differ from run to run, and a failing run to say which they were.
    let mut seed =
        u64::from(std::process::id()) << 20 | u64::from(Instant::now().elapsed().subsec_nanos()) | 1;
    println!("seed {seed}");
    let mut hit = 0;
    for _ in 0..kills() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut child = child();
        tokio::time::sleep(Duration::from_millis(20 + seed % 150)).await;
        hit += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = world.store.job(&Owner::local(), &job.id).await.unwrap();
    println!("{hit} kills met a process at work; {} lines were done then", before.counts.completed);
    let job = world.run(&job, &function()).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    assert_eq!(world.sorted_output(), expected(LINES, &[POISON]));
    assert_eq!(world.errors(), [(POISON as u64 + 1, format!("i{POISON}"), "function_error".to_owned())]);
    assert!(hit >= kills() / 3, "only {hit} kills met a process at work");
}
