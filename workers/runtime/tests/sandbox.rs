//! A whole sandbox with the identity engine: the real `bootstrap` against a Runtime API.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failure here is a failed test")]

mod support;

use std::time::Duration;

use support::{Reply, Start, identity_folder, tensor, value_of};
use workers_protocol::{Datatype, ItemErrorCode};

fn items(count: u64) -> (Vec<u64>, Vec<Vec<u8>>) {
    let ids: Vec<u64> = (0..count).map(|id| 1000 + id * 7).collect();
    let data = ids.iter().map(|id| [id.to_le_bytes(), (!id).to_le_bytes()].concat()).collect();
    (ids, data)
}

#[test]
fn every_item_gets_its_own_value_at_any_process_count() {
    let folder = identity_folder("UINT8", "[16]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    for (process_count, count) in [(1, 1), (1, 32), (4, 32), (2, 33), (64, 5), (3, 64), (1, 8)] {
        let (ids, data) = items(count);
        let header = sandbox.header(process_count);
        let answer = sandbox.answer(&header, &ids, &[tensor("x", Datatype::Uint8, &[16], &data)]);
        assert_eq!(answer.ids, ids, "the order of the batch is kept");
        for (id, expected) in ids.iter().zip(&data) {
            assert_eq!(value_of(&answer, *id).as_ref(), Some(expected));
        }
        let used = answer.report.processes.len() as u64;
        assert_eq!(used, u64::from(process_count).min(count), "processes that took part");
        assert_eq!(
            answer.report.processes.iter().map(|process| u64::from(process.items)).sum::<u64>(),
            count
        );
        let retired = support::within(Duration::from_secs(5), || {
            sandbox.model_processes().len() <= process_count as usize
        });
        assert!(retired, "surplus processes are retired");
    }
}

#[test]
fn first_invocation_is_cold_and_processes_survive() {
    let folder = identity_folder("UINT8", "[16]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let (ids, data) = items(8);
    let run = |sandbox: &mut support::Sandbox| {
        let header = sandbox.header(2);
        sandbox.answer(&header, &ids, &[tensor("x", Datatype::Uint8, &[16], &data)])
    };
    let first = run(&mut sandbox);
    assert!(first.report.cold && first.report.init_us > 0 && first.report.resident_bytes > 0);
    let processes = sandbox.model_processes();
    let second = run(&mut sandbox);
    assert!(!second.report.cold);
    assert_eq!(second.report.init_us, first.report.init_us);
    assert_eq!(sandbox.model_processes(), processes);
}

#[test]
fn wrong_requests_are_function_errors_with_a_type() {
    let folder = identity_folder("UINT8", "[16]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let (ids, data) = items(1);
    let x = [tensor("x", Datatype::Uint8, &[16], &data)];
    let good = sandbox.header(1);
    let other_model = workers_protocol::RequestHeader { model: "other".into(), ..good.clone() };
    let no_process = workers_protocol::RequestHeader { process_count: 0, ..good.clone() };
    let cases = [
        (br#"{"v":99}"#.to_vec(), "ProtocolVersionMismatch"),
        (br#"{"v":1,"batch":1}"#.to_vec(), "InvalidRequest"),
        (other_model.encode(&ids, &x), "ModelMismatch"),
        (no_process.encode(&ids, &x), "InvalidRequest"),
    ];
    for (payload, expected) in cases {
        match sandbox.invoke(payload, Duration::from_secs(5)) {
            Reply::Error(_, body) => assert!(body.contains(expected), "{body}"),
            other => panic!("no function error but {other:?}"),
        }
    }
    sandbox.answer(&good, &ids, &x); // and the sandbox goes on
}

#[test]
fn wrong_input_costs_only_its_own_item() {
    let folder = identity_folder("UINT8", "[-1]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let header = sandbox.header(2);
    let shapes = workers_protocol::ItemShapes::Each(vec![vec![2], vec![1, 1], vec![3]]);
    let x = workers_protocol::TensorChunks {
        name: "x",
        datatype: Datatype::Uint8,
        item_shapes: shapes,
        chunks: vec![b"aabccc"],
    };
    let answer = sandbox.answer(&header, &[1, 2, 3], &[x]);
    assert_eq!(answer.ids, [1, 3]);
    assert_eq!(value_of(&answer, 3).unwrap(), b"ccc");
    assert_eq!(answer.errors[0].code, ItemErrorCode::InvalidInput);
}

#[test]
fn empty_batch_warms_the_processes_asked_for() {
    let folder = identity_folder("UINT8", "[16]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let header = sandbox.header(3);
    let answer = sandbox.answer(&header, &[], &[]);
    assert_eq!(sandbox.model_processes().len(), 3);
    assert_eq!(answer.report.processes.len(), 3);
    assert!(answer.report.resident_bytes > 0);
}

#[test]
fn answer_above_the_payload_limit_is_an_error_of_its_own() {
    let folder = identity_folder("UINT8", "[-1]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let header = sandbox.header(2);
    let data = vec![vec![7_u8; 2_600_000], vec![8; 2_600_000]];
    match sandbox.invoke(
        header.encode(&[1, 2], &[tensor("x", Datatype::Uint8, &[2_600_000], &data)]),
        Duration::from_secs(10),
    ) {
        Reply::Error(_, body) => {
            assert!(body.contains("ResponseTooLarge") && body.contains("6291456"), "{body}")
        }
        other => panic!("no function error but {other:?}"),
    }
    let header = sandbox.header(2);
    let data = vec![vec![7_u8; 2_000_000], vec![8; 2_000_000]];
    let answer = sandbox.answer(&header, &[1, 2], &[tensor("x", Datatype::Uint8, &[2_000_000], &data)]);
    assert_eq!(value_of(&answer, 2).unwrap(), data[1]);
}

#[test]
fn failed_load_is_reported_and_ends_the_sandbox() {
    let folder = identity_folder("UINT8", "[16]");
    std::fs::write(folder.path().join("model.toml"), "name='identity'\nversion='1'\nengine='mystery'")
        .unwrap();
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let (reply, code) = sandbox.wait_for_end();
    match reply {
        Some(Reply::InitError(error_type, body)) => {
            assert_eq!(error_type, "Runtime.ModelLoadFailed");
            assert!(body.contains("mystery"), "{body}");
        }
        other => panic!("no start error but {other:?}"),
    }
    assert_ne!(code, 0);
}
