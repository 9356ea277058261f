//! Real models through the real `bootstrap`: texts and strings, cut over processes, compared with the answer of an item alone.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failure here is a failed test")]

mod support;

use support::{Reply, Sandbox, Start, built_model, byte_string, tensor, value_of};
use workers_protocol::{Answer, Datatype, ItemErrorCode};

fn ask(sandbox: &mut Sandbox, process_count: u32, texts: &[&[u8]]) -> Answer {
    let ids: Vec<u64> = (1..=texts.len() as u64).collect();
    let data: Vec<Vec<u8>> = texts.iter().map(|text| byte_string(text)).collect();
    let header = sandbox.header(process_count);
    sandbox.answer(&header, &ids, &[tensor("text", Datatype::Bytes, &[1], &data)])
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect()
}

fn embedding(answer: &Answer, id: u64) -> Vec<f32> {
    floats(&value_of(answer, id).unwrap())
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn sentence_embeddings_are_those_published_and_do_not_depend_on_the_batch() {
    let folder = built_model("minilm");
    let mut sandbox = Start::new(&folder, "minilm").sandbox();
    let long = "the train to the coast leaves late and the sea is cold in may ".repeat(40);
    let texts: Vec<&[u8]> = vec![
        b"A man is eating food.",
        b"A man is eating a piece of bread.",
        b"",
        long.as_bytes(),
        "na\u{ef}ve caf\u{e9} \u{1f600}".as_bytes(),
        b"Stocks fell sharply on Friday after the central bank had raised its rates for the third time this year.",
        b"yes",
        b"The quick brown fox jumps over the lazy dog.",
    ];
    let alone: Vec<Vec<f32>> =
        texts.iter().map(|text| embedding(&ask(&mut sandbox, 1, &[text]), 1)).collect();
    let cosine: f32 = alone[0].iter().zip(&alone[1]).map(|(a, b)| a * b).sum();
    assert!((cosine - 0.7553).abs() < 1e-3, "published similarity of these two sentences: {cosine}");
    for process_count in [1, 2, 3] {
        let answer = ask(&mut sandbox, process_count, &texts);
        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
        for (id, expected) in (1..).zip(&alone) {
            let difference = distance(&embedding(&answer, id), expected);
            assert!(difference < 1e-5, "item {id} at {process_count} processes differs by {difference}");
        }
        let used = answer.report.processes.len();
        assert!(
            used >= process_count.min(2) as usize && used <= process_count as usize,
            "the long text has one to itself"
        );
        let report = &answer.report.processes;
        let (work, padded): (u64, u64) = (
            report.iter().map(|process| process.work_units).sum(),
            report.iter().map(|process| process.padded_units).sum(),
        );
        assert!(work > 128 && work <= padded && padded < 2 * work, "tokens {work}, padded {padded}");
    }
}

#[test]
fn too_long_text_is_cut_where_the_tokenizer_cuts_it() {
    let folder = built_model("bert-tiny");
    let mut sandbox = Start::new(&folder, "bert-tiny").sandbox();
    let words = |count: usize| "hello ".repeat(count);
    let (full, beyond, far_beyond) = (words(126), words(300), words(200_000)); // 126 words and two special tokens
    let answer = ask(&mut sandbox, 1, &[full.as_bytes(), beyond.as_bytes(), far_beyond.as_bytes()]);
    for id in [2, 3] {
        assert!(distance(&embedding(&answer, id), &embedding(&answer, 1)) < 1e-6);
    }
    assert_eq!(answer.report.processes[0].work_units, 3 * 128);
}

#[test]
fn text_that_is_not_utf8_fails_alone() {
    let folder = built_model("bert-tiny");
    let mut sandbox = Start::new(&folder, "bert-tiny").sandbox();
    let answer = ask(&mut sandbox, 2, &[b"good", b"\xff\xfe", b"also good"]);
    assert_eq!(answer.ids, [1, 3]);
    assert_eq!((answer.errors[0].id, answer.errors[0].code), (2, ItemErrorCode::InvalidInput));
}

#[test]
fn string_model_gives_label_and_probabilities_per_text() {
    let folder = built_model("imdb-sentiment");
    let mut sandbox = Start::new(&folder, "imdb-sentiment").sandbox();
    let texts: [&[u8]; 3] = [
        b"a wonderful, moving film with a great cast; one of the best of the year",
        b"\xff",
        b"the worst film ever: boring, badly acted, awful script, a waste of time",
    ];
    let answer = ask(&mut sandbox, 2, &texts);
    assert_eq!(answer.ids, [1, 3]);
    let output = |name: &str| answer.outputs.iter().find(|output| output.name == name).unwrap();
    let labels: Vec<i64> = output("label")
        .data
        .chunks_exact(8)
        .map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap()))
        .collect();
    assert_eq!(labels, [1, 0]);
    let probabilities = floats(&output("probabilities").data);
    assert!(probabilities[1] > 0.5 && probabilities[2] > 0.5, "{probabilities:?}");
    assert_eq!(answer.errors[0].code, ItemErrorCode::InvalidInput);
}

#[test]
fn changed_model_file_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(built_model("identity-onnx")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let model = folder.path().join("model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let (reply, code) = Start::new(folder.path(), "identity-onnx").sandbox().wait_for_end();
    let Some(Reply::InitError(_, body)) = reply else { panic!("no start error but {reply:?}") };
    assert!(body.contains("SHA-256") && body.contains("model.onnx"), "{body}");
    assert_ne!(code, 0);
}
