//! How many requests a second of processor time simulates, and what a week of traffic takes: time and memory.
//!
//! Hypothesis: at least a million requests a second on one core, with batches under a fixed plan; memory does not grow with the days.
//! Baseline: the pure engine (`cargo bench -p gateway-policy --bench engine`), which has no arrivals, no Lambda and no books beside it.
//! Three rounds of each load, the median counts, the spread is printed.
//!
//! `--trace FILE`: requests per second, a number a line (`.gz` by way of gzip), in place of a generated week; `--days N` (7) of it; `--json FILE`;
//! `--quick`: without the week.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measurement, not a library"
)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "simulator/loads.rs"]
mod loads;
#[path = "machine/mod.rs"]
mod machine;
#[path = "simulator/week.rs"]
mod week;

use loads::{LOADS, Load};
use machine::cpu_seconds;
use simulator::deployment::{Unobserved, run};

const ROUNDS: usize = 3;

fn main() {
    let (mut json, mut trace, mut days, mut is_quick) = (None, None, 7_usize, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => json = words.next(),
            "--trace" => trace = words.next(),
            "--days" => days = words.next().unwrap().parse().unwrap(),
            "--quick" => is_quick = true,
            _ => {}
        }
    }
    println!("{:<34} {:>12} {:>12} {:>12} {:>7}", "load", "requests/s", "least", "most", "fill");
    let mut figures = serde_json::Map::new();
    let mut headline = 0.0;
    for load in LOADS {
        let (median, least, most, fill) = measure(load);
        println!("{:<34} {median:>12.0} {least:>12.0} {most:>12.0} {fill:>7.2}", load.name);
        figures.insert(load.name.to_owned(), median.into());
        if load.is_headline {
            headline = median;
        }
    }
    let mut report = serde_json::json!({ "requests_per_second": headline, "by_load": figures });
    if !is_quick {
        let week = week::measure(trace.as_deref(), days);
        println!(
            "{} days of {}: {} requests, {:.0} s of processor time ({:.0} s of wall time), {:.0} requests/s; resident MiB by day {:.1?}, peak {:.1}",
            week.days,
            week.name,
            week.requests,
            week.cpu_s,
            week.wall_s,
            week.requests as f64 / week.cpu_s,
            week.resident_mib,
            week.peak_mib,
        );
        report["week"] = serde_json::json!({
            "trace": week.name,
            "days": week.days,
            "requests": week.requests,
            "cpu_seconds": week.cpu_s,
            "wall_seconds": week.wall_s,
            "requests_per_second": week.requests as f64 / week.cpu_s,
            "resident_mib_by_day": week.resident_mib,
            "usd_per_million": week.usd_per_million,
        });
    }
    report["peak_rss_mib"] = machine::peak_mib().into();
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(&report).unwrap() + "\n").unwrap();
    }
}

/// Median, least and most requests per second of processor time, and the mean fill.
fn measure(load: &Load) -> (f64, f64, f64, f64) {
    let mut fill = 0.0;
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let config = load.config(round as u64 + 1);
            let began = cpu_seconds();
            let report = run(config, &mut Unobserved).unwrap();
            let took_s = cpu_seconds() - began;
            fill = report.models[0].mean_fill();
            report.models.iter().map(|model| model.counts.requests).sum::<u64>() as f64 / took_s
        })
        .collect();
    rates.sort_unstable_by(f64::total_cmp);
    (rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1], fill)
}
