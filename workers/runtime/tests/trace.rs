//! The trace of a batch inside a sandbox: its context arrives, and the worker tells when what ran. The real `bootstrap` each time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failure here is a failed test")]

mod support;

use std::time::Duration;

use support::{Reply, Sandbox, Start, identity_folder, tensor, within};
use workers_protocol::{Answer, Datatype, ItemErrorCode, RequestHeader, WorkerSpan, WorkerSpanKind};
use workers_runtime::engine::{FAULT_DIE, FAULT_SLOW};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn run(sandbox: &mut Sandbox, header: &RequestHeader, words: &[&[u8; 8]]) -> Answer {
    let ids: Vec<u64> = (0..words.len() as u64).collect();
    let data: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
    sandbox.answer(header, &ids, &[tensor("x", Datatype::Uint8, &[8], &data)])
}

fn traced(header: RequestHeader) -> RequestHeader {
    RequestHeader { traceparent: Some(TRACEPARENT.to_owned()), report_spans: true, ..header }
}

fn header(model: &str, process_count: u32) -> RequestHeader {
    RequestHeader {
        batch: 1,
        model: model.to_owned(),
        model_version: "1".to_owned(),
        process_count,
        ..RequestHeader::default()
    }
}

fn of(answer: &Answer, kind: WorkerSpanKind) -> Vec<&WorkerSpan> {
    answer.report.spans.iter().filter(|span| span.kind == kind).collect()
}

fn end(span: &WorkerSpan) -> u64 {
    span.start_us + span.duration_us
}

#[test]
fn each_process_tells_when_it_ran_and_only_when_asked() {
    let folder = identity_folder("UINT8", "[8]");
    let mut sandbox = Start { faults: true, ..Start::new(folder.path(), "identity") }.sandbox();
    let header = sandbox.header(2);
    let first = run(&mut sandbox, &traced(header.clone()), &[FAULT_SLOW; 4]);
    assert!(!of(&first, WorkerSpanKind::Fork).is_empty(), "the second process is forked for the first batch");
    let header = sandbox.header(2);
    let answer = run(&mut sandbox, &traced(header), &[FAULT_SLOW; 4]);
    let shards = of(&answer, WorkerSpanKind::Shard);
    let mut processes: Vec<u64> = shards.iter().map(|shard| shard.process).collect();
    processes.sort_unstable();
    assert_eq!(processes, [1, 2], "one shard in each process");
    let compute_us: u64 = answer.report.processes.iter().map(|process| process.compute_us).sum();
    let runs = of(&answer, WorkerSpanKind::Run);
    let run_us: u64 = runs.iter().map(|run| run.duration_us).sum();
    assert!(run_us <= compute_us && run_us + 5_000 > compute_us, "{run_us} of {compute_us}");
    for run in runs {
        let shard = &answer.report.spans[run.within.unwrap() as usize];
        assert_eq!((shard.kind, shard.process), (WorkerSpanKind::Shard, run.process));
        assert!(shard.start_us <= run.start_us && end(run) <= end(shard) + 1, "{run:?} in {shard:?}");
    }
    for span in &answer.report.spans {
        assert!(end(span) <= answer.report.handler_us, "{span:?} in {}", answer.report.handler_us);
    }
    let overlap = shards[0].start_us < end(shards[1]) && shards[1].start_us < end(shards[0]);
    assert!(overlap, "they ran at the same time: {shards:?}");
    let header = sandbox.header(2);
    let plain = run(
        &mut sandbox,
        &RequestHeader { traceparent: Some(TRACEPARENT.to_owned()), ..header },
        &[FAULT_SLOW; 2],
    );
    assert!(plain.report.spans.is_empty() && plain.report.spans_left_out == 0);
}

#[test]
fn a_lost_process_is_told_and_the_log_names_the_trace() {
    let folder = identity_folder("UINT8", "[8]");
    let log = tempfile::NamedTempFile::new().unwrap();
    let written = log.reopen().unwrap();
    let start = Start { faults: true, log: Some(written), ..Start::new(folder.path(), "identity") };
    let mut sandbox = start.sandbox();
    let header = sandbox.header(1);
    let answer = run(&mut sandbox, &traced(header), &[b"harmless", FAULT_DIE]);
    assert_eq!(answer.ids, [0]);
    let lost: Vec<_> =
        of(&answer, WorkerSpanKind::Shard).into_iter().filter(|shard| shard.error.is_some()).collect();
    assert_eq!(lost.len(), 2, "with its neighbour and alone: {:?}", answer.report.spans);
    assert!(lost.iter().all(|shard| shard.error == Some(ItemErrorCode::ProcessDied)));
    let read = || std::fs::read_to_string(log.path()).unwrap();
    let named = |text: &str| {
        text.lines().any(|line| line.contains("a model process is lost") && line.contains(TRACEPARENT))
    };
    assert!(within(Duration::from_secs(5), || named(&read())), "{}", read());
}

#[test]
fn spans_never_make_an_answer_too_large() {
    let folder = identity_folder("UINT8", "[-1]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let mut send = |header: &RequestHeader, item_bytes: usize| {
        let data = vec![vec![7_u8; item_bytes]; 4];
        let shape = [u32::try_from(item_bytes).unwrap()];
        let payload = header.encode(&[1, 2, 3, 4], &[tensor("x", Datatype::Uint8, &shape, &data)]);
        match sandbox.invoke(payload, Duration::from_secs(20)) {
            Reply::Response(body) => body,
            other => panic!("no answer but {other:?}"),
        }
    };
    let limit = workers_protocol::LAMBDA_PAYLOAD_LIMIT_BYTES;
    let (plain, item_bytes) = (header("identity", 4), limit / 4 * 3 / 4 - 3_000);
    let without = send(&plain, item_bytes).len();
    // 100 bytes below the limit without spans: a digit more here or there does not matter, four spans do.
    let item_bytes = item_bytes + (limit - 100 - without) / 4 * 3 / 4;
    let answer = Answer::decode(&send(&traced(plain), item_bytes)).unwrap();
    assert!(answer.ids.len() == 4 && answer.report.spans.is_empty(), "{:?}", answer.report);
    assert!(answer.report.spans_left_out >= 4, "{:?}", answer.report);
}
