//! Situations with bands, over several seeds: each measured value, its spread and its band.
//!
//! Hypothesis: every band holds for every seed, and no rule of the reference model is broken. `--seeds N` (5), `--threads N` (1), `--only NAME`,
//! `--folder FOLDER`, `--json FILE`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measurement, not a library"
)]

#[path = "options/mod.rs"]
mod options;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use options::Options;
use simulator::scenario::{Measured, Scenario, run};

/// A scenario's values by seed, and the rules that it broke.
struct Outcome {
    file: String,
    by_seed: Vec<Vec<Measured>>,
    broken: Vec<String>,
    seconds: f64,
}

fn main() {
    let options = Options::read();
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let folder = options.text("folder").unwrap_or(here);
    let mut files: Vec<String> = std::fs::read_dir(Path::new(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path().to_string_lossy().into_owned())
        .filter(|path| path.ends_with(".toml"))
        .filter(|path| options.text("only").is_none_or(|name| path.contains(name)))
        .collect();
    files.sort();
    let outcomes = judge(&files, options.number("seeds", 5), options.number("threads", 1));
    let mut missed = 0;
    for outcome in &outcomes {
        missed += show(outcome);
    }
    let runs: usize = outcomes.iter().map(|outcome| outcome.by_seed.len()).sum();
    let bands: usize = outcomes.iter().map(|outcome| outcome.by_seed.first().map_or(0, Vec::len)).sum();
    let broken: usize = outcomes.iter().map(|outcome| outcome.broken.len()).sum();
    let figures = format!(
        "{{\"scenarios\": {}, \"runs\": {runs}, \"bands\": {bands}, \"bands_missed\": {missed}, \"rules_broken\": {broken}}}\n",
        outcomes.len()
    );
    print!("{figures}");
    if let Some(path) = options.text("json") {
        std::fs::write(path, &figures).unwrap();
    }
    assert_eq!((missed, broken), (0, 0), "bands missed, rules broken");
}

fn judge(files: &[String], seeds: u64, threads: u64) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = judge_one(file, seeds);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by(|a, b| a.file.cmp(&b.file));
    outcomes
}

fn judge_one(file: &str, seeds: u64) -> Outcome {
    let scenario = match Scenario::from_toml(&std::fs::read_to_string(file).unwrap()) {
        Ok(scenario) => scenario,
        Err(error) => panic!("{file}: {error}"),
    };
    let (mut by_seed, mut broken) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for seed in 1..=seeds {
        let (measured, rules) = run(&scenario, seed).unwrap_or_else(|error| panic!("{file}: {error}"));
        by_seed.push(measured);
        broken.extend(rules.into_iter().map(|rule| format!("seed {seed}: {rule}")));
    }
    Outcome { file: file.to_owned(), by_seed, broken, seconds: began.elapsed().as_secs_f64() }
}

/// Prints a scenario's values; gives the number of bands that some seed missed.
fn show(outcome: &Outcome) -> usize {
    let name = Path::new(&outcome.file).file_stem().unwrap().to_string_lossy().into_owned();
    println!(
        "{name} ({} seeds, {:.1} s each)",
        outcome.by_seed.len(),
        outcome.seconds / outcome.by_seed.len() as f64
    );
    let mut missed = 0;
    for (at, first) in outcome.by_seed.first().into_iter().flatten().enumerate() {
        let values: Vec<f64> = outcome.by_seed.iter().map(|seed| seed[at].value).collect();
        let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        let holds = outcome.by_seed.iter().all(|seed| seed[at].holds());
        missed += usize::from(!holds);
        println!("  {} {low:.4} to {high:.4}   {first}", if holds { "holds " } else { "MISSED" });
    }
    for rule in &outcome.broken {
        println!("  BROKEN {rule}");
    }
    missed
}
