//! All cells over all threads, with what was done before taken from a file and what is left shown as time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::Arguments;
use crate::cells::{Cell, Coverage, QUICK_CANDIDATES, choose};
use crate::policies;
use crate::traces;
use crate::world::World;

/// Figures of one cell: by seed, then policy.
#[derive(Debug)]
pub struct CellRuns {
    pub name: String,
    pub cell: Value,
    pub seeds: BTreeMap<u64, Value>,
}

/// Runs what is missing.
pub fn run_all(arguments: &Arguments) -> Vec<CellRuns> {
    let traces = traces::load(arguments.traces.as_ref());
    let mut cells = choose(&traces, arguments.coverage);
    cells.retain(|cell| cell.rate <= arguments.max_rate);
    if let Some(word) = &arguments.only {
        cells.retain(|cell| cell.name().contains(word.as_str()));
    }
    let known = before(arguments.resume.as_ref());
    let others = before(arguments.again.as_ref());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Done { weight: 0.0, runs: known });
    let all: f64 = cells.iter().map(weight).sum();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one_cell(cell, arguments, others.get(&cell.name()), &done);
                    let mut done = done.lock().unwrap();
                    done.weight += weight(cell);
                    let seconds = began.elapsed().as_secs_f64();
                    let left = seconds * (all / done.weight - 1.0);
                    eprintln!("{seconds:6.0} s, {left:6.0} s left: {}", cell.name());
                }
            });
        }
    });
    let mut runs = done.into_inner().unwrap().runs;
    cells
        .iter()
        .map(|cell| CellRuns {
            name: cell.name(),
            cell: cell.json(),
            seeds: runs.remove(&cell.name()).unwrap_or_default(),
        })
        .collect()
}

type Runs = BTreeMap<String, BTreeMap<u64, Value>>;

struct Done {
    weight: f64,
    runs: Runs,
}

/// About how long a cell takes: a part for the tuners, a part by requests.
fn weight(cell: &Cell) -> f64 {
    20.0 + cell.rate
}

/// What a file holds of earlier runs.
fn before(path: Option<&PathBuf>) -> Runs {
    let mut runs = Runs::new();
    let Some(path) = path else { return runs };
    let Ok(text) = std::fs::read_to_string(path) else { return runs };
    for line in text.lines() {
        // The last line may be half written.
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(name), Some(seed)) = (record["name"].as_str(), record["seed"].as_u64()) else { continue };
        runs.entry(name.to_owned()).or_default().insert(seed, record["policies"].clone());
    }
    runs
}

/// Runs the seeds that are missing; Penstock alone where the `others` are known.
fn one_cell(cell: &Cell, arguments: &Arguments, others: Option<&BTreeMap<u64, Value>>, done: &Mutex<Done>) {
    let name = cell.name();
    let known: BTreeSet<u64> =
        done.lock().unwrap().runs.get(&name).map(|seeds| seeds.keys().copied().collect()).unwrap_or_default();
    let mut world = World { shows_plans: arguments.shows_plans, ..World::new(cell) };
    if arguments.coverage == Coverage::Quick {
        world.candidates = world.candidates.min(QUICK_CANDIDATES);
    }
    let mut plans = None;
    for seed in (1..=arguments.seeds).filter(|seed| !known.contains(seed)) {
        let policies = match (others.and_then(|seeds| seeds.get(&seed)), &arguments.again) {
            (Some(known), _) => {
                let mut known = known.clone();
                known["grey_box"] = policies::grey_box(&world, seed).json();
                known
            }
            (None, Some(_)) => continue,
            (None, None) => {
                let results = policies::run(&world, seed, &mut plans);
                results.iter().map(|(policy, outcome)| ((*policy).to_owned(), outcome.json())).collect()
            }
        };
        let mut done = done.lock().unwrap();
        if let Some(path) = &arguments.resume {
            let line = json!({ "name": name, "seed": seed, "policies": policies });
            let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            writeln!(file, "{line}").unwrap();
        }
        done.runs.entry(name.clone()).or_default().insert(seed, policies);
    }
}
