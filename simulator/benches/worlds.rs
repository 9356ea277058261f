//! Random worlds with faults, judged by the reference model: how many, and what did not hold.
//!
//! Hypothesis: no seed breaks a rule. Each world is one seed; every tenth is run twice, and both logs must be equal. A seed that breaks a rule
//! is made smaller and printed; it belongs into `tests/worlds.rs` by name.
//!
//! `--worlds N` (10,000), `--from SEED` (0), `--threads N` (1), `--json FILE`; `--seed SEED` judges one and shows it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measurement, not a library"
)]

#[path = "options/mod.rs"]
mod options;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use options::Options;
use simulator::invariants::{World, check, check_twice};

/// Every so many worlds one is run twice.
const TWICE: u64 = 10;
/// Violations that are made smaller; of more only the seed is printed.
const MAX_SHRUNK: usize = 5;

#[derive(Default)]
struct Sums {
    requests: u64,
    batches: u64,
    /// Seeds and the rule that each breaks first.
    broken: Vec<(u64, String)>,
}

fn main() {
    let options = Options::read();
    if let Some(seed) = options.text("seed") {
        show(seed.parse().unwrap());
        return;
    }
    let (worlds, from, threads) =
        (options.number("worlds", 10_000), options.number("from", 0), options.number("threads", 1));
    let began = Instant::now();
    let sums = judge(from, worlds, threads, began);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{worlds} worlds from seed {from}: {} requests in {} batches, {} violations, {seconds:.0} s on {threads} threads",
        sums.requests,
        sums.batches,
        sums.broken.len()
    );
    let mut by_rule: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, what) in &sums.broken {
        *by_rule.entry(what.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    println!("by rule: {by_rule:?}");
    for (seed, _) in sums.broken.iter().take(MAX_SHRUNK) {
        show(*seed);
    }
    let figures = format!(
        "{{\"worlds\": {worlds}, \"violations\": {}, \"requests\": {}, \"batches\": {}, \"from_seed\": {from}, \"seconds\": {seconds:.1}, \"threads\": {threads}}}\n",
        sums.broken.len(),
        sums.requests,
        sums.batches
    );
    print!("{figures}");
    if let Some(path) = options.text("json") {
        std::fs::write(path, &figures).unwrap();
    }
    assert!(sums.broken.is_empty(), "rules were broken");
}

fn judge(from: u64, worlds: u64, threads: u64, began: Instant) -> Sums {
    let (next, sums) = (AtomicU64::new(0), Mutex::new(Sums::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= worlds {
                        return;
                    }
                    if at > 0 && at.is_multiple_of(1_000) {
                        let broken = sums.lock().unwrap().broken.len();
                        println!(
                            "{at} worlds after {:.0} s, {broken} violations",
                            began.elapsed().as_secs_f64()
                        );
                    }
                    judge_one(from + at, &sums);
                }
            });
        }
    });
    let mut sums = sums.into_inner().unwrap();
    sums.broken.sort();
    sums
}

fn judge_one(seed: u64, sums: &Mutex<Sums>) {
    let world = World::generate(seed);
    let judged = catch_unwind(AssertUnwindSafe(|| {
        if seed.is_multiple_of(TWICE) { check_twice(&world) } else { check(&world) }
    }));
    let mut sums = sums.lock().unwrap();
    let broken = match judged {
        Ok(verdict) => {
            sums.requests += verdict.requests;
            sums.batches += verdict.batches;
            verdict.findings.first().first().map(ToString::to_string)
        }
        Err(_) => Some("Panic".to_owned()),
    };
    if let Some(broken) = broken {
        println!("seed {seed}: {broken}");
        sums.broken.push((seed, broken));
    }
}

/// Judges one world, makes it smaller if it breaks a rule, and prints it.
fn show(seed: u64) {
    let world = World::generate(seed);
    let Some(rule) = check_twice(&world).findings.first().first().map(|first| first.rule) else {
        println!("seed {seed} holds: {world:#?}");
        return;
    };
    let breaks = |world: &World| check_twice(world).findings.first().iter().any(|it| it.rule == rule);
    let smallest = world.shrink(breaks);
    println!("seed {seed} breaks {rule:?}; as small as this: {smallest:#?}");
    for violation in check_twice(&smallest).findings.first() {
        println!("    {violation}");
    }
}
