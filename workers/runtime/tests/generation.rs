//! Generation through the real `bootstrap`: the reference's continuations, alone and in batches, over processes that die.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failure here is a failed test")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Reply, Sandbox, Start, built_model, byte_string, signal, within};
use workers_protocol::{Answer, Datatype, ItemErrorCode, ItemShapes, TensorChunks};

/// A prompt with its parameters, and what is to come of it.
#[derive(Clone, Debug, PartialEq)]
struct Golden {
    prompt: String,
    parameters: String,
    text: String,
    counts: (i32, i32),
    reason: String,
}

/// What an answer says of one item.
#[derive(Clone, Debug, PartialEq)]
struct Continued {
    text: String,
    counts: (i32, i32),
    reason: String,
}

impl Golden {
    fn continued(&self) -> Continued {
        Continued { text: self.text.clone(), counts: self.counts, reason: self.reason.clone() }
    }
}

/// The continuations that the model's folder holds, by the builder's reference implementation.
fn golden(folder: &Path) -> Vec<Golden> {
    let lines = std::fs::read_to_string(folder.join("generation.jsonl")).unwrap();
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let count = |key: &str| i32::try_from(row[key].as_i64().unwrap()).unwrap();
        Golden {
            prompt: text("prompt"),
            parameters: format!("{{\"max_tokens\":{}}}", count("max_tokens")),
            text: text("text"),
            counts: (count("prompt_tokens"), count("completion_tokens")),
            reason: text("finish_reason"),
        }
    };
    lines.lines().map(row).collect()
}

/// Items as they travel: a prompt, and its parameters if there are any.
struct Prompts {
    data: Vec<Vec<u8>>,
    shapes: Vec<Vec<u32>>,
}

impl Prompts {
    fn new<'a>(items: impl IntoIterator<Item = (&'a [u8], &'a str)>) -> Self {
        let (mut data, mut shapes) = (Vec::new(), Vec::new());
        for (prompt, parameters) in items {
            let has_parameters = !parameters.is_empty();
            let second = if has_parameters { byte_string(parameters.as_bytes()) } else { Vec::new() };
            data.push([byte_string(prompt), second].concat());
            shapes.push(vec![1 + u32::from(has_parameters)]);
        }
        Self { data, shapes }
    }

    fn of(items: &[Golden]) -> Self {
        Self::new(items.iter().map(|item| (item.prompt.as_bytes(), item.parameters.as_str())))
    }

    fn tensor(&self) -> [TensorChunks<'_>; 1] {
        let shapes: Vec<&[u32]> = self.shapes.iter().map(Vec::as_slice).collect();
        [TensorChunks {
            name: "text",
            datatype: Datatype::Bytes,
            item_shapes: ItemShapes::from_shapes(&shapes),
            chunks: self.data.iter().map(Vec::as_slice).collect(),
        }]
    }

    fn ids(&self) -> Vec<u64> {
        (0..self.data.len() as u64).collect()
    }
}

fn ask(sandbox: &mut Sandbox, process_count: u32, prompts: &Prompts) -> Answer {
    let header = sandbox.header(process_count);
    sandbox.answer_within(&header, &prompts.ids(), &prompts.tensor(), Duration::from_secs(120))
}

/// The continuations of an answer in the order of its ids.
fn continued(answer: &Answer) -> Vec<Continued> {
    let output = |name: &str| answer.outputs.iter().find(|output| output.name == name).unwrap();
    let strings = |name: &str| -> Vec<String> {
        let tensor = output(name);
        let ranges = tensor.item_ranges(answer.ids.len()).unwrap();
        ranges
            .iter()
            .map(|range| String::from_utf8(tensor.data[range.start + 4..range.end].to_vec()).unwrap())
            .collect()
    };
    let counts = |name: &str| -> Vec<i32> {
        let chunks = output(name).data.chunks_exact(4);
        chunks.map(|chunk| i32::from_le_bytes(chunk.try_into().unwrap())).collect()
    };
    let counts = counts("prompt_tokens").into_iter().zip(counts("completion_tokens"));
    let parts = strings("text").into_iter().zip(counts).zip(strings("finish_reason"));
    parts.map(|((text, counts), reason)| Continued { text, counts, reason }).collect()
}

#[test]
fn greedy_text_is_the_reference_s_alone_and_in_a_batch_over_processes() {
    let folder = built_model("llama-tiny");
    let golden = golden(&folder);
    let reasons = |reason: &str| golden.iter().filter(|item| item.reason == reason).count();
    assert!(golden.len() >= 8 && reasons("stop") > 0 && reasons("length") > 0);
    let expected: Vec<Continued> = golden.iter().map(Golden::continued).collect();
    let mut sandbox = Start::new(&folder, "llama-tiny").sandbox();
    for (item, expected) in golden.iter().zip(&expected) {
        let answer = ask(&mut sandbox, 1, &Prompts::of(std::slice::from_ref(item)));
        assert_eq!(continued(&answer), std::slice::from_ref(expected));
    }
    for process_count in [1, 2, 3] {
        let answer = ask(&mut sandbox, process_count, &Prompts::of(&golden));
        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
        assert_eq!(continued(&answer), expected, "{process_count} processes");
        let report = &answer.report.processes;
        assert_eq!(report.len(), process_count as usize);
        let (generated, work): (u64, u64) = (
            report.iter().map(|process| process.generated_tokens).sum(),
            report.iter().map(|process| process.work_units).sum(),
        );
        let (prompt, completion) = golden
            .iter()
            .map(|item| item.counts)
            .fold((0, 0), |sum, counts| (sum.0 + counts.0.cast_unsigned(), sum.1 + counts.1.cast_unsigned()));
        assert_eq!(generated, u64::from(completion));
        assert!(work >= u64::from(prompt) && work < u64::from(prompt + completion), "one less than written");
        assert!(
            report.iter().all(|process| process.prefill_us > 0 && process.prefill_us < process.compute_us)
        );
    }
}

#[test]
fn more_items_than_rows_are_continued_all_the_same() {
    let folder = built_model("llama-tiny");
    let golden: Vec<Golden> = golden(&folder).into_iter().cycle().take(100).collect();
    let mut sandbox = Start::new(&folder, "llama-tiny").sandbox();
    let answer = ask(&mut sandbox, 2, &Prompts::of(&golden));
    assert_eq!(continued(&answer), golden.iter().map(Golden::continued).collect::<Vec<_>>());
}

#[test]
fn parameters_bound_and_vary_the_text() {
    let folder = built_model("llama-tiny");
    let mut sandbox = Start::new(&folder, "llama-tiny").sandbox();
    let mut one = |parameters: &str| {
        let answer = ask(&mut sandbox, 1, &Prompts::new([(b"Hello".as_slice(), parameters)]));
        continued(&answer).swap_remove(0)
    };
    let by_default = one("");
    assert_eq!(by_default.counts.0, 6, "five bytes and the token before each text");
    assert!(by_default.reason == "stop" || by_default.counts.1 == 32, "the manifest's bound: {by_default:?}");
    let short = one("{\"max_tokens\":3}");
    assert_eq!((short.counts.1, short.reason.as_str()), (3, "length"));
    assert!(by_default.text.starts_with(&short.text));
    let drawn = |seed: u32| format!("{{\"temperature\":1.0,\"seed\":{seed}}}");
    assert_eq!(one(&drawn(1)), one(&drawn(1)));
    let different = (2..6).filter(|&seed| one(&drawn(seed)).text != one(&drawn(1)).text).count();
    assert!(different >= 3, "seeds vary the text");
}

#[test]
fn items_that_cannot_be_continued_fail_alone() {
    let folder = built_model("llama-tiny");
    let golden = golden(&folder);
    let mut sandbox = Start::new(&folder, "llama-tiny").sandbox();
    let too_long = "x".repeat(256); // and the token before each text
    let just_fits = "x".repeat(255);
    let items = [
        (golden[0].prompt.as_bytes(), golden[0].parameters.as_str()),
        (b"\xff".as_slice(), ""),
        (too_long.as_bytes(), ""),
        (just_fits.as_bytes(), "{\"max_tokens\":1}"),
        (b"hi".as_slice(), "{\"max_tokens\":129}"),
        (b"hi".as_slice(), "{\"top_k\":1}"),
        (golden[1].prompt.as_bytes(), golden[1].parameters.as_str()),
    ];
    let answer = ask(&mut sandbox, 2, &Prompts::new(items));
    assert_eq!(answer.ids, [0, 3, 6]);
    let found = continued(&answer);
    assert_eq!((&found[0], &found[2]), (&golden[0].continued(), &golden[1].continued()));
    let errors: Vec<(u64, &str)> =
        answer.errors.iter().map(|error| (error.id, error.message.as_str())).collect();
    for ((id, message), (expected, part)) in
        errors.iter().zip([(1, "UTF-8"), (2, "256 tokens"), (4, "max_tokens"), (5, "top_k")])
    {
        assert!(*id == expected && message.contains(part), "{id}: {message}");
    }
    assert_eq!(errors.len(), 4);
    assert!(answer.errors.iter().all(|error| error.code == ItemErrorCode::InvalidInput));
}

#[test]
fn process_that_dies_while_writing_is_replaced_and_no_text_suffers() {
    let folder = built_model("llama-tiny");
    let golden: Vec<Golden> = golden(&folder).into_iter().cycle().take(120).collect();
    let mut sandbox = Start::new(&folder, "llama-tiny").sandbox();
    ask(&mut sandbox, 2, &Prompts::of(&golden[..2])); // both processes exist now
    let prompts = Prompts::of(&golden);
    let timed = Instant::now();
    ask(&mut sandbox, 2, &prompts);
    let whole = timed.elapsed();
    // On a busy machine the signal may come after the last text; then once more.
    let victims = (0..3).find_map(|_| interrupted(&mut sandbox, &prompts, &golden, whole / 6));
    let victim = victims.expect("a process was killed while it was writing");
    ask(&mut sandbox, 2, &Prompts::of(&golden[..2])); // what died behind the last text is noticed by the next batch
    assert!(within(Duration::from_secs(5), || !sandbox.model_processes().contains(&victim)));
}

/// Kills a process after a while. Every text must be right; gives the process if it was needed again.
fn interrupted(sandbox: &mut Sandbox, prompts: &Prompts, golden: &[Golden], after: Duration) -> Option<u32> {
    let victim = sandbox.model_processes()[0];
    let header = sandbox.header(2);
    sandbox.api.offer(header.encode(&prompts.ids(), &prompts.tensor()), Duration::from_secs(120));
    std::thread::sleep(after);
    signal(victim, Signal::SIGKILL);
    let Some(Reply::Response(body)) = sandbox.api.reply(Duration::from_secs(120)) else {
        panic!("no answer")
    };
    let answer = Answer::decode(&body).unwrap();
    answer.check_answers(header.batch, &prompts.ids()).unwrap();
    assert!(answer.errors.is_empty(), "{:?}", answer.errors);
    assert_eq!(continued(&answer), golden.iter().map(Golden::continued).collect::<Vec<_>>());
    (answer.report.process_restarts == 1).then_some(victim)
}

#[test]
fn graph_that_is_no_decoder_is_refused_at_start() {
    let (from, folder) = (built_model("llama-tiny"), tempfile::tempdir().unwrap());
    for name in ["model.toml", "tokenizer.json"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let other = built_model("identity-onnx");
    std::fs::copy(other.join("model.onnx"), folder.path().join("model.onnx")).unwrap();
    let digest = |folder: &Path| {
        let text = std::fs::read_to_string(folder.join("model.toml")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("sha256 = ")).unwrap().to_owned()
    };
    let manifest = std::fs::read_to_string(from.join("model.toml")).unwrap();
    let manifest = manifest.replacen(&digest(&from), &digest(&other), 1);
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    let (reply, code) = Start::new(folder.path(), "llama-tiny").sandbox().wait_for_end();
    let Some(Reply::InitError(_, body)) = reply else { panic!("no start error but {reply:?}") };
    assert!(body.contains("past_key_values"), "{body}");
    assert_ne!(code, 0);
}
