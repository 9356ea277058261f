//! What happens to processes while they work: killed, stopped, hanging, growing, poisoned. The real `bootstrap` each time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failure here is a failed test")]

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Reply, Sandbox, Start, identity_folder, signal, tensor, value_of, within};
use workers_protocol::{Answer, Datatype, ItemErrorCode, RequestHeader};

/// Items of eight bytes; those named are replaced by a word that the identity engine obeys.
fn batch(count: u64, words: &[(u64, &[u8; 8])]) -> (Vec<u64>, Vec<Vec<u8>>) {
    let ids: Vec<u64> = (0..count).collect();
    let data = ids
        .iter()
        .map(|id| words.iter().find(|(at, _)| at == id).map_or(id.to_le_bytes(), |(_, word)| **word).to_vec())
        .collect();
    (ids, data)
}

fn run(
    sandbox: &mut Sandbox,
    header: &RequestHeader,
    count: u64,
    words: &[(u64, &[u8; 8])],
    time: Duration,
) -> Answer {
    let (ids, data) = batch(count, words);
    let answer = sandbox.answer_within(header, &ids, &[tensor("x", Datatype::Uint8, &[8], &data)], time);
    for id in &answer.ids {
        assert_eq!(value_of(&answer, *id).unwrap(), data[usize::try_from(*id).unwrap()], "its own value");
    }
    answer
}

fn sandbox(memory_mib: u32) -> (tempfile::TempDir, Sandbox) {
    let folder = identity_folder("UINT8", "[8]");
    let sandbox = Start { memory_mib, faults: true, ..Start::new(folder.path(), "identity") }.sandbox();
    (folder, sandbox)
}

/// Sends a signal to one model process while a batch of slow items is being run.
fn interrupt(signal_sent: Signal, hang_after_ms: Option<u32>) {
    let (_folder, mut sandbox) = sandbox(3008);
    let header = sandbox.header(2);
    run(&mut sandbox, &header, 2, &[], Duration::from_secs(10)); // both processes exist now
    let victim = sandbox.model_processes()[0];
    let header = RequestHeader { hang_after_ms, ..sandbox.header(2) };
    let slow: Vec<(u64, &[u8; 8])> = (0..32).map(|id| (id, workers_runtime::engine::FAULT_SLOW)).collect();
    let (ids, data) = batch(32, &slow);
    sandbox
        .api
        .offer(header.encode(&ids, &[tensor("x", Datatype::Uint8, &[8], &data)]), Duration::from_secs(30));
    std::thread::sleep(Duration::from_millis(300)); // 16 slow items take 1.6 s in each process
    signal(victim, signal_sent);
    let Some(Reply::Response(body)) = sandbox.api.reply(Duration::from_secs(30)) else { panic!("no answer") };
    let answer = Answer::decode(&body).unwrap();
    answer.check_answers(header.batch, &ids).unwrap();
    assert!(answer.errors.is_empty(), "{:?}", answer.errors);
    assert_eq!(answer.report.process_restarts, 1);
    assert!(
        within(Duration::from_secs(5), || !sandbox.model_processes().contains(&victim)),
        "replaced, not only left"
    );
}

#[test]
fn killed_process_costs_no_item() {
    interrupt(Signal::SIGKILL, None);
}

#[test]
fn stopped_process_costs_no_item() {
    interrupt(Signal::SIGSTOP, Some(3_000));
}

#[test]
fn process_found_dead_is_replaced_and_nothing_is_run_twice() {
    let (_folder, mut sandbox) = sandbox(3008);
    let header = sandbox.header(2);
    run(&mut sandbox, &header, 8, &[], Duration::from_secs(10));
    let victim = sandbox.model_processes()[0];
    signal(victim, Signal::SIGKILL);
    assert!(within(Duration::from_secs(5), || !sandbox.model_processes().contains(&victim)));
    let header = sandbox.header(2);
    let answer = run(&mut sandbox, &header, 8, &[], Duration::from_secs(10));
    assert!(answer.errors.is_empty());
    assert_eq!(answer.report.process_restarts, 1);
    assert_eq!(answer.report.processes.len(), 2);
    assert!(answer.report.processes.iter().all(|process| process.items == 4), "{:?}", answer.report);
    assert!(answer.report.processes.iter().any(|process| process.replaced));
}

/// One poison item among 64: the others have values, and it has the given code.
fn poison(word: &[u8; 8], expected: ItemErrorCode, memory_mib: u32, hang_after_ms: Option<u32>) {
    let (_folder, mut sandbox) = sandbox(memory_mib);
    for process_count in [1, 3] {
        let header = RequestHeader { hang_after_ms, ..sandbox.header(process_count) };
        let answer = run(&mut sandbox, &header, 64, &[(37, word)], Duration::from_secs(30));
        assert_eq!(answer.ids.len(), 63, "{:?}", answer.errors);
        assert_eq!(answer.errors.len(), 1);
        assert_eq!(
            (answer.errors[0].id, answer.errors[0].code),
            (37, expected),
            "{}",
            answer.errors[0].message
        );
    }
    let header = sandbox.header(2);
    let answer = run(&mut sandbox, &header, 8, &[], Duration::from_secs(10));
    assert!(answer.errors.is_empty(), "the sandbox goes on");
}

#[test]
fn item_that_kills_its_process_fails_alone() {
    poison(workers_runtime::engine::FAULT_DIE, ItemErrorCode::ProcessDied, 3008, None);
}

#[test]
fn item_that_hangs_its_process_fails_alone() {
    poison(workers_runtime::engine::FAULT_HANG, ItemErrorCode::ProcessHung, 3008, Some(400));
}

#[test]
fn item_that_fills_memory_fails_alone() {
    poison(workers_runtime::engine::FAULT_GROW, ItemErrorCode::OutOfMemory, 256, None);
}

#[test]
fn item_that_the_model_refuses_fails_alone_without_a_restart() {
    let (_folder, mut sandbox) = sandbox(3008);
    let header = sandbox.header(2);
    let answer =
        run(&mut sandbox, &header, 16, &[(3, workers_runtime::engine::FAULT_FAIL)], Duration::from_secs(10));
    assert_eq!(answer.errors.len(), 1);
    assert_eq!((answer.errors[0].id, answer.errors[0].code), (3, ItemErrorCode::ModelFailed));
    assert_eq!(answer.report.process_restarts, 0);
}

#[test]
fn answer_comes_before_the_deadline_when_an_item_hangs() {
    let (_folder, mut sandbox) = sandbox(3008);
    let header = sandbox.header(2);
    run(&mut sandbox, &header, 2, &[], Duration::from_secs(10));
    let (header, started) = (sandbox.header(2), Instant::now());
    let time = Duration::from_secs(4);
    let answer = run(&mut sandbox, &header, 16, &[(0, workers_runtime::engine::FAULT_HANG)], time);
    assert!(started.elapsed() < time, "{:?}", started.elapsed());
    assert_eq!(answer.ids.len(), 15, "{:?}", answer.errors);
}

#[test]
fn items_without_time_left_say_so_and_the_next_batch_is_served() {
    let (_folder, mut sandbox) = sandbox(3008);
    let slow: Vec<(u64, &[u8; 8])> = (0..20).map(|id| (id, workers_runtime::engine::FAULT_SLOW)).collect();
    let header = sandbox.header(1);
    run(&mut sandbox, &header, 1, &[], Duration::from_secs(10));
    let (header, started) =
        (RequestHeader { hang_after_ms: Some(10_000), ..sandbox.header(1) }, Instant::now());
    let answer = run(&mut sandbox, &header, 20, &slow, Duration::from_secs(1)); // needs two seconds
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(answer.errors.iter().all(|error| error.code == ItemErrorCode::DeadlineExceeded));
    assert_eq!(answer.errors.len(), 20);
    let header = sandbox.header(1);
    assert!(run(&mut sandbox, &header, 4, &[], Duration::from_secs(10)).errors.is_empty());
}

#[test]
fn sandbox_ends_when_zygote_or_supervisor_dies() {
    for which in [0, 1] {
        let (_folder, mut sandbox) = sandbox(3008);
        let header = sandbox.header(3);
        run(&mut sandbox, &header, 6, &[], Duration::from_secs(10));
        let processes = sandbox.processes();
        signal(processes[which], Signal::SIGKILL);
        let (_, code) = sandbox.wait_for_end_quietly();
        assert_ne!(code, 0);
        let gone = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
        };
        assert!(within(Duration::from_secs(5), || processes.iter().all(gone)), "no process is left behind");
    }
}

#[test]
fn nothing_begins_after_the_budget() {
    let (_folder, mut sandbox) = sandbox(3008);
    let (slow, die) = (workers_runtime::engine::FAULT_SLOW, workers_runtime::engine::FAULT_DIE);
    let header = RequestHeader { budget_ms: Some(0), ..sandbox.header(1) };
    let answer = run(&mut sandbox, &header, 3, &[(1, slow), (2, die)], Duration::from_secs(10));
    assert_eq!(answer.errors.len(), 3);
    assert!(
        answer.errors.iter().all(|error| error.code == ItemErrorCode::DeadlineExceeded),
        "{:?}",
        answer.errors
    );
    assert_eq!(answer.report.process_restarts, 0, "no process saw them");
}
