//! Delay and false alarms of the detectors, cell by cell, against the bound and an oracle; time and size of a step over
//! a long life; ramps; published traces.
//!
//! Hypothesis: the median delay of `bocpd` is at most 1.5 times the larger of ⌈ln 10⁴ / KL⌉ and the oracle CUSUM's, at
//! one false alarm or fewer in 10,000 stationary windows, in every cell. Baselines: `cusum`, the oracle.
//!
//! `cargo bench -p optimizer-changepoint --bench changepoint -- --json FILE [--traces DIR] [--plots DIR] [--windows N]
//! [--seed S] [--cells DISPERSION:RATE,…]` (with `--cells` nothing but those cells is run)
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, files and arguments, and uses both cores"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod cell;
mod delay;
mod life;
mod oracle;
mod plot;
mod ramp;
mod report;
mod sampler;
mod trace;

use cell::{Cell, Plan};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const DISPERSIONS: [f64; 4] = [1.0, 2.0, 5.0, 27.0];
const RATES: [f64; 4] = [5.0, 20.0, 80.0, 500.0];
const THREADS: usize = 2;

struct Arguments {
    json: Option<PathBuf>,
    traces: Option<PathBuf>,
    plots: Option<PathBuf>,
    windows: u64,
    seed: u64,
    only: Option<String>,
}

fn arguments() -> Arguments {
    let mut parsed =
        Arguments { json: None, traces: None, plots: None, windows: 200_000, seed: 1, only: None };
    let mut list = std::env::args().skip(1);
    while let Some(name) = list.next() {
        let mut value = || list.next().unwrap_or_else(|| panic!("`{name}` needs a value"));
        match name.as_str() {
            "--json" => parsed.json = Some(value().into()),
            "--traces" => parsed.traces = Some(value().into()),
            "--plots" => parsed.plots = Some(value().into()),
            "--windows" => parsed.windows = value().parse().expect("`--windows` is a number"),
            "--seed" => parsed.seed = value().parse().expect("`--seed` is a number"),
            "--cells" => parsed.only = Some(value()),
            "--bench" => {}
            other => panic!("unknown argument `{other}`"),
        }
    }
    parsed
}

/// The sixteen cells, or those named on the command line, which may be others.
fn plans(arguments: &Arguments) -> Vec<Plan> {
    let laws: Vec<(f64, f64)> = match &arguments.only {
        Some(only) => only.split(',').map(law).collect(),
        None => DISPERSIONS.iter().flat_map(|dispersion| RATES.map(|rate| (*dispersion, rate))).collect(),
    };
    let plan = |(index, (dispersion, rate)): (u64, (f64, f64))| Plan {
        dispersion,
        rate,
        windows: arguments.windows,
        seed: arguments.seed.wrapping_mul(0x0001_0001).wrapping_add(index << 16),
    };
    (0_u64..).zip(laws).map(plan).collect()
}

fn law(text: &str) -> (f64, f64) {
    let (dispersion, rate) = text.split_once(':').expect("a cell is DISPERSION:RATE");
    (dispersion.parse().expect("a dispersion is a number"), rate.parse().expect("a rate is a number"))
}

/// All cells, on two threads.
fn run_cells(plans: &[Plan]) -> Vec<Cell> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let cell = cell::run(*plan);
                    done.lock().expect("no thread panics with the lock").push(cell);
                }
            });
        }
    });
    let mut cells = done.into_inner().expect("all threads have ended");
    cells.sort_by(|a, b| {
        (a.plan.dispersion, a.plan.rate).partial_cmp(&(b.plan.dispersion, b.plan.rate)).expect("finite")
    });
    cells
}

fn main() {
    let arguments = arguments();
    let plans = plans(&arguments);
    let cells = run_cells(&plans);
    report::print_cells(&cells);
    if arguments.only.is_some() {
        return;
    }
    let life = life::run(arguments.seed);
    life::print(&life);
    let ramps = ramp::run(arguments.seed);
    ramp::print(&ramps);
    let traces = arguments.traces.as_ref().map(|folder| trace::run(folder, arguments.plots.as_deref()));
    if let Some(path) = &arguments.json {
        let value = report::json(&cells, &life, &ramps, traces.as_deref(), arguments.seed);
        std::fs::write(path, format!("{value:#}\n")).expect("the report can be written");
    }
}
