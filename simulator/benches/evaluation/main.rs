//! What each policy costs on the same two hours of traffic, beside what could not be beaten.
//!
//! Cells are traces × rates × profiles × objectives (`cells`), each over several seeds; on each the published policies and Penstock's tuner serve
//! through the production engine with cold starts paid, learning and exploration included, and the bounds are worked out (`policies`). The oracle's
//! plans are found on the first seed of a cell, since the load curve is the same, and run on every seed.
//!
//! `--traces DIR` takes published traces, else generated ones of the same kinds; `--quick` a fixed subset; `--all` every cell; `--seeds N`;
//! `--max-rate R` leaves busier cells out; `--resume FILE` appends each finished cell and seed to a file and skips what is in it; `--threads N`; `--only WORD` cells whose name holds it;
//! `--again FILE` runs Penstock alone and takes everybody else from such a file; `--plans` prints each run's last plan, and what Penstock did; `--check-oracle` pits the oracle against every plan that is nearly best by the formula; `--arithmetic` measures the table of "what the
//! arithmetic says"; `--json FILE`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a measurement, not a library"
)]

mod arithmetic;
mod cells;
mod check;
#[path = "../machine/mod.rs"]
mod machine;
mod policies;
mod progress;
mod summary;
mod traces;
mod world;

use std::path::PathBuf;

use cells::Coverage;

/// What was asked for.
#[derive(Debug)]
pub struct Arguments {
    pub traces: Option<PathBuf>,
    pub coverage: Coverage,
    pub seeds: u64,
    pub threads: usize,
    /// Requests per second above which cells are left out.
    pub max_rate: f64,
    pub resume: Option<PathBuf>,
    /// Figures of all other policies.
    pub again: Option<PathBuf>,
    pub only: Option<String>,
    pub shows_plans: bool,
    pub json: Option<PathBuf>,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Evaluation,
    CheckOracle,
    Arithmetic,
}

fn main() {
    let arguments = parse();
    let figures = match arguments.part {
        Part::Evaluation => summary::print(&progress::run_all(&arguments), &arguments),
        Part::CheckOracle => check::run(&arguments),
        Part::Arithmetic => arithmetic::run(&arguments),
    };
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures).unwrap() + "\n").unwrap();
    }
}

fn parse() -> Arguments {
    let mut arguments = Arguments {
        traces: None,
        coverage: Coverage::Rotating,
        seeds: 0,
        threads: 2,
        max_rate: f64::INFINITY,
        resume: None,
        again: None,
        only: None,
        shows_plans: false,
        json: None,
        part: Part::Evaluation,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("`{word}` needs a value"));
        match word.as_str() {
            "--bench" => {}
            "--traces" => arguments.traces = Some(value().into()),
            "--quick" => arguments.coverage = Coverage::Quick,
            "--all" => arguments.coverage = Coverage::All,
            "--seeds" => arguments.seeds = value().parse().unwrap(),
            "--threads" => arguments.threads = value().parse().unwrap(),
            "--max-rate" => arguments.max_rate = value().parse().unwrap(),
            "--resume" => arguments.resume = Some(value().into()),
            "--again" => arguments.again = Some(value().into()),
            "--only" => arguments.only = Some(value()),
            "--json" => arguments.json = Some(value().into()),
            "--plans" => arguments.shows_plans = true,
            "--check-oracle" => arguments.part = Part::CheckOracle,
            "--arithmetic" => arguments.part = Part::Arithmetic,
            _ => panic!("unknown option `{word}`"),
        }
    }
    if arguments.seeds == 0 {
        arguments.seeds = if arguments.coverage == Coverage::Quick { 1 } else { 5 };
    }
    arguments
}
