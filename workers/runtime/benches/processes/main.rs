//! What processes that share their weights are worth: throughput, memory, start, and the cost of the worker around the engine.
//!
//! Hypotheses, each a ratio of two sides measured in the same run, interleaved, medians of the ratios of neighbours:
//! `speedup_2` (two processes over one) ≥ 1.7; `fork_over_separate_2` (a forked pair over two processes that each loaded the
//! model) ≥ 0.97; `pss_ratio_4` (memory of a sandbox with four over one) ≤ 1.5; `init_ratio_4` (start to first answer, four over
//! one) ≤ 1.1; `engine_ratio` (the worker's compute time over a bare ONNX Runtime loop) ≤ 1.05.
//! Rounds during which something else took more than a tenth of the machine are left out while enough others remain.
//! Run: `cargo bench -p workers-runtime --bench processes -- [--json FILE] [--rounds N]`, with `PENSTOCK_TEST_MODELS` and
//! `ORT_DYLIB_PATH` set as `cargo xtask test` sets them. Deliberately absent: CPU quotas (see the emulator's benchmarks).
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a command-line report; a failure is a failed run"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod measures;
mod quiet;

use std::collections::BTreeMap;

/// Takes a number of rounds.
type Measure = fn(usize) -> measures::Figure;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value_of = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1))
    };
    let rounds = value_of("--rounds").map_or(15, |rounds| rounds.parse().unwrap());
    let mut figures: BTreeMap<&str, f64> = BTreeMap::new();
    let measures: [(&str, &str, Measure); 6] = [
        ("speedup_2", "≥ 1.7", measures::speedup),
        ("fork_over_separate_2", "≥ 0.97", measures::fork_over_separate),
        ("pss_ratio_4", "≤ 1.5", measures::memory),
        ("init_ratio_4", "≤ 1.1", measures::start),
        ("engine_ratio", "≤ 1.05", measures::engine),
        ("identity_cpu_us", "≤ 200", measures::identity_cpu),
    ];
    println!(
        "{:<22} {:>8} {:>8}  {:<17} {:>13}  what was compared",
        "figure", "median", "aim", "quartiles", "rounds used"
    );
    for (name, aim, measure) in measures {
        let figure = measure(rounds);
        println!(
            "{name:<22} {:>8.3} {aim:>8}  {:<17} {:>13}  {}",
            figure.median,
            format!("{:.3} … {:.3}", figure.quartiles.0, figure.quartiles.1),
            format!("{} of {}", figure.used, figure.tried),
            figure.sides
        );
        figures.insert(name, figure.median);
    }
    if let Some(path) = value_of("--json") {
        std::fs::write(path, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
    }
}
