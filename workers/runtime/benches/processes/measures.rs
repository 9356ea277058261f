//! The comparisons, one function each.

use std::time::{Duration, Instant};

use ort::value::TensorRef;
use workers_protocol::{Answer, Datatype};
use workers_runtime::engine::onnx_session;

use crate::quiet::{Snapshot, process_cpu_us};
use crate::support::{Reply, Sandbox, Start, built_model, byte_string, identity_folder, tensor};

const TIME_LEFT: Duration = Duration::from_secs(60);
/// Quiet rounds below which disturbed ones are used as well.
const ENOUGH: usize = 5;

/// A ratio with its spread.
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) quartiles: (f64, f64),
    pub(crate) used: usize,
    pub(crate) tried: usize,
    pub(crate) sides: String,
}

/// One round: the ratio, both sides for people, whether the machine was left alone.
struct Round {
    ratio: f64,
    sides: (f64, f64),
    quiet: bool,
}

fn figure(rounds: Vec<Round>, unit: &str, names: (&str, &str)) -> Figure {
    let tried = rounds.len();
    let quiet = rounds.iter().filter(|round| round.quiet).count();
    let used: Vec<Round> = rounds.into_iter().filter(|round| round.quiet || quiet < ENOUGH).collect();
    let at = |of: &dyn Fn(&Round) -> f64, share: f64| {
        let mut values: Vec<f64> = used.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = ((values.len() - 1) as f64 * share).round() as usize;
        values[index]
    };
    let ratio = |round: &Round| round.ratio;
    let (first, second) = (at(&|round| round.sides.0, 0.5), at(&|round| round.sides.1, 0.5));
    let disturbed = if quiet < tried.min(ENOUGH) { ", machine not quiet" } else { "" };
    Figure {
        median: at(&ratio, 0.5),
        quartiles: (at(&ratio, 0.25), at(&ratio, 0.75)),
        used: used.len(),
        tried,
        sides: format!("{} {first:.1} {unit}, {} {second:.1} {unit}{disturbed}", names.0, names.1),
    }
}

/// A text of `tokens` tokens, special ones included; numbered so that no two are equal.
fn text(tokens: usize, number: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["sea", "cold", "house", "train", "late", "green", "food", "tree"];
    let words: Vec<&str> =
        (0..tokens - 2).map(|at| WORDS[(number + at * (number / 8 + 1)) % WORDS.len()]).collect();
    byte_string(words.join(" ").as_bytes())
}

fn minilm() -> Sandbox {
    let folder = built_model("minilm");
    Start::new(&folder, "minilm").sandbox()
}

fn offer(sandbox: &mut Sandbox, process_count: u32, items: usize, tokens: usize) {
    let data: Vec<Vec<u8>> = (0..items).map(|number| text(tokens, number)).collect();
    let ids: Vec<u64> = (0..items as u64).collect();
    let payload = sandbox.header(process_count).encode(&ids, &[tensor("text", Datatype::Bytes, &[1], &data)]);
    sandbox.api.offer(payload, TIME_LEFT);
}

fn collect(sandbox: &Sandbox, items: usize) -> Answer {
    let Some(Reply::Response(body)) = sandbox.api.reply(TIME_LEFT) else { panic!("no answer") };
    let answer = Answer::decode(&body).unwrap();
    assert_eq!(answer.ids.len(), items, "every item has a value: {:?}", answer.errors);
    answer
}

fn run(sandbox: &mut Sandbox, process_count: u32, items: usize, tokens: usize) -> (f64, Answer) {
    let started = Instant::now();
    offer(sandbox, process_count, items, tokens);
    let answer = collect(sandbox, items);
    (started.elapsed().as_secs_f64() * 1e3, answer)
}

/// Two processes over one, the same sandbox, batches of 32 texts of 32 tokens.
pub(crate) fn speedup(rounds: usize) -> Figure {
    let mut sandbox = minilm();
    run(&mut sandbox, 2, 32, 32);
    let rounds = (0..rounds)
        .map(|_| {
            run(&mut sandbox, 2, 4, 32); // the second process is there before the clock runs
            let before = Snapshot::take(&sandbox.processes());
            let two = run(&mut sandbox, 2, 32, 32).0;
            let middle = Snapshot::take(&sandbox.processes());
            let one = run(&mut sandbox, 1, 32, 32).0;
            let quiet = before.was_quiet_until(&middle);
            Round { ratio: one / two, sides: (one, two), quiet }
        })
        .collect();
    figure(rounds, "ms", ("one process", "two"))
}

/// A forked pair over two sandboxes of one process each, the same 64 texts.
pub(crate) fn fork_over_separate(rounds: usize) -> Figure {
    let (mut forked, mut left, mut right) = (minilm(), minilm(), minilm());
    run(&mut forked, 2, 64, 32);
    run(&mut left, 1, 32, 32);
    run(&mut right, 1, 32, 32);
    let rounds = (0..rounds)
        .map(|_| {
            let pids = [forked.processes(), left.processes(), right.processes()].concat();
            let before = Snapshot::take(&pids);
            let pair = run(&mut forked, 2, 64, 32).0;
            let started = Instant::now();
            offer(&mut left, 1, 32, 32);
            offer(&mut right, 1, 32, 32);
            collect(&left, 32);
            collect(&right, 32);
            let separate = started.elapsed().as_secs_f64() * 1e3;
            let quiet = before.was_quiet_until(&Snapshot::take(&pids));
            Round { ratio: separate / pair, sides: (pair, separate), quiet }
        })
        .collect();
    figure(rounds, "ms", ("forked pair", "two separate"))
}

fn proportional_mib(sandbox: &Sandbox) -> f64 {
    let kib: u64 = sandbox
        .processes()
        .iter()
        .map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        })
        .sum();
    kib as f64 / 1024.0
}

/// Proportional memory of all processes of a sandbox, after batches of 8 texts of 16 tokens in each process.
pub(crate) fn memory(rounds: usize) -> Figure {
    let rounds = (0..rounds.clamp(1, 3))
        .map(|_| {
            let after = |process_count: u32| {
                let mut sandbox = minilm();
                for _ in 0..5 {
                    let answer = run(&mut sandbox, process_count, 8 * process_count as usize, 16).1;
                    assert!(answer.report.processes.iter().all(|process| process.items == 8), "8 in each");
                }
                proportional_mib(&sandbox)
            };
            let (four, one) = (after(4), after(1));
            Round { ratio: four / one, sides: (four, one), quiet: true }
        })
        .collect();
    figure(rounds, "MiB", ("four processes", "one"))
}

/// From start to the first answered batch (four texts of 16 tokens): four processes over one.
pub(crate) fn start(rounds: usize) -> Figure {
    let rounds = (0..rounds)
        .map(|_| {
            let first_answer = |process_count: u32| {
                let mut sandbox = minilm();
                run(&mut sandbox, process_count, 4, 16);
                sandbox.started.elapsed().as_secs_f64() * 1e3
            };
            let (four, one) = (first_answer(4), first_answer(1));
            // Not judged: the sandboxes are gone, and with them what they used themselves.
            Round { ratio: four / one, sides: (four, one), quiet: true }
        })
        .collect();
    figure(rounds, "ms", ("four processes", "one"))
}

/// The worker's compute time over a bare loop with the same session options, 32 texts of 32 tokens.
pub(crate) fn engine(rounds: usize) -> Figure {
    const SHAPE: [usize; 2] = [32, 32];
    let environment = ort::init_from(std::env::var("ORT_DYLIB_PATH").unwrap()).unwrap().build().unwrap();
    let mut session = onnx_session(&environment, &built_model("minilm").join("model.onnx")).unwrap();
    let names: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
    let ids: Vec<i64> = (0..1024).map(|at| if at % 32 == 0 { 101 } else { 2000 + at * 17 % 3000 }).collect();
    let (ones, zeros) = (vec![1_i64; 1024], vec![0_i64; 1024]);
    let mut bare = || {
        let inputs: Vec<(String, TensorRef<'_, i64>)> = names
            .iter()
            .map(|name| {
                let values = match name.as_str() {
                    "attention_mask" => &ones,
                    "token_type_ids" => &zeros,
                    _ => &ids,
                };
                (name.clone(), TensorRef::from_array_view((SHAPE, values.as_slice())).unwrap())
            })
            .collect();
        let started = Instant::now();
        let outputs = session.run(inputs).unwrap();
        std::hint::black_box(outputs.values().next().unwrap().try_extract_tensor::<f32>().unwrap().1[0]);
        started.elapsed().as_secs_f64() * 1e3
    };
    let mut sandbox = minilm();
    bare();
    run(&mut sandbox, 1, 32, 32);
    let rounds = (0..rounds)
        .map(|_| {
            let before = Snapshot::take(&sandbox.processes());
            let first = bare();
            let report = run(&mut sandbox, 1, 32, 32).1.report;
            let second = bare();
            let quiet = before.was_quiet_until(&Snapshot::take(&sandbox.processes()));
            assert_eq!(report.processes[0].padded_units, 1024, "32 texts of 32 tokens");
            let worker = report.processes[0].compute_us as f64 / 1e3;
            let loop_ms = f64::midpoint(first, second); // before and after, so that a drift of the clock cancels
            Round { ratio: worker / loop_ms, sides: (worker, loop_ms), quiet }
        })
        .collect();
    figure(rounds, "ms", ("worker", "bare loop"))
}

/// CPU time per invocation of all processes of a sandbox with the identity engine, 32 items of 16 FP32 each, in microseconds.
pub(crate) fn identity_cpu(rounds: usize) -> Figure {
    const INVOCATIONS: u32 = 1000;
    let folder = identity_folder("FP32", "[16]");
    let mut sandbox = Start::new(folder.path(), "identity").sandbox();
    let data: Vec<Vec<u8>> = (0..32_u8).map(|item| vec![item; 64]).collect();
    let ids: Vec<u64> = (0..32).collect();
    let x = [tensor("x", Datatype::Fp32, &[16], &data)];
    let mut per_invocation = || {
        let pids = sandbox.processes();
        let cpu = || pids.iter().map(|&pid| process_cpu_us(pid)).sum::<u64>();
        let before = cpu();
        for _ in 0..INVOCATIONS {
            let payload = sandbox.header(1).encode(&ids, &x);
            sandbox.api.offer(payload, TIME_LEFT);
            assert!(matches!(sandbox.api.reply(TIME_LEFT), Some(Reply::Response(_))));
        }
        (cpu() - before) as f64 / f64::from(INVOCATIONS)
    };
    per_invocation();
    let rounds = (0..rounds.clamp(1, 7)).map(|_| {
        let cpu_us = per_invocation();
        Round { ratio: cpu_us, sides: (cpu_us, 64.0 * 32.0), quiet: true }
    });
    figure(rounds.collect(), "", ("µs per invocation", "bytes each way"))
}
