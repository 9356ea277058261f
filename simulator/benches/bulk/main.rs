//! The publication's experiment with a bulk job, at full size in virtual time: one function that works through all batches one after the other
//! against many at once; what the optimizer picks; and live traffic beside a job.
//!
//! Hypotheses: for every batch size some number of environments takes at least 95 % off the time for at most 1.02 of the cost at equal memory, at an
//! efficiency of at least 0.9; for the dollars of each fixed batch size the optimizer's own size is faster; the share keeps live's p99 where
//! it is without a job. Baselines: the monolith, and one environment for each batch, as the publication has it. [`SEEDS`] seeds, means.
//! Reference: Barrak and Ksontini, 2025: DistilBERT over IMDb, 325 to 375 minutes become 2.5 to 7.5 at about the same cost.
//!
//! `--json FILE`; `--plots FOLDER`; `--memory MIB` (1769); `--slice N` and `--slice-parallelism P`: also what is to be expected of so many reviews.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measurement, not a library"
)]

#[path = "../options/mod.rs"]
mod options;

mod beside;
mod choice;
mod experiment;
mod subject;

use gateway_contract::Mebibytes;
use options::Options;
use serde_json::json;
use subject::Subject;

/// Runs of each cut.
pub(crate) const SEEDS: u64 = 20;

fn main() {
    let options = Options::read();
    let memory = Mebibytes(options.number("memory", 1769) as u32);
    let mut models = serde_json::Map::new();
    let (mut cut, mut ratio, mut efficiency) = (f64::INFINITY, 0.0_f64, f64::INFINITY);
    let mut shares = (0.0_f64, 0.0_f64);
    let (mut each_cut, mut each_ratio) = (f64::INFINITY, 0.0_f64);
    for subject in Subject::all() {
        let rows = experiment::measure(&subject, memory);
        experiment::show(&subject, memory, &rows);
        let choice = choice::measure(&subject, memory, &rows);
        choice.show();
        if let Some(folder) = options.text("plots") {
            experiment::plot(&subject, &rows, &choice, std::path::Path::new(folder));
        }
        for row in &rows {
            cut = cut.min(row.planned.time_cut(&row.monolith));
            ratio = ratio.max(row.planned.cost_ratio(&row.monolith));
            efficiency = efficiency.min(row.planned.efficiency(&row.monolith));
            each_cut = each_cut.min(row.each.time_cut(&row.monolith));
            each_ratio = each_ratio.max(row.each.cost_ratio(&row.monolith));
        }
        let (planned, each) = choice.worst_share();
        shares = (shares.0.max(planned), shares.1.max(each));
        let rows: Vec<_> = rows.iter().map(experiment::Row::json).collect();
        models.insert(subject.name.to_owned(), json!({ "batches": rows, "choice": choice.json() }));
    }
    println!(
        "worst over both models and all batch sizes: time cut {:.2} %, cost ratio {ratio:.4}, parallel efficiency {efficiency:.3}; \
         an environment for each batch: {:.2} %, {each_ratio:.4}\n\
         for the same dollars the optimizer's own size takes at most {:.3} of a fixed size's time; against an environment for each batch {:.3}",
        cut * 100.0,
        each_cut * 100.0,
        shares.0,
        shares.1
    );
    let (slice, parallelism) = (options.number("slice", 0) as usize, options.number("slice-parallelism", 10));
    let slices: serde_json::Map<String, serde_json::Value> = Subject::all()
        .iter()
        .filter(|_| slice > 0)
        .map(|subject| {
            (subject.name.to_owned(), experiment::slice(subject, memory, slice, parallelism as u32))
        })
        .collect();
    let beside = beside::measure();
    let report = json!({
        "worst_time_cut": cut,
        "worst_cost_ratio": ratio,
        "parallel_efficiency": efficiency,
        "optimizer_beats_every_size": shares.0 < 1.0,
        "optimizer_worst_time_share": shares.0,
        "environment_for_each_batch": { "worst_time_cut": each_cut, "worst_cost_ratio": each_ratio, "optimizer_worst_time_share": shares.1 },
        "reviews": subject::REVIEWS,
        "memory_mib": memory.0,
        "seeds": SEEDS,
        "models": models,
        "slice_simulated": slices,
        "live_beside_bulk": beside,
    });
    if let Some(path) = options.text("json") {
        std::fs::write(path, serde_json::to_string_pretty(&report).unwrap() + "\n").unwrap();
    }
}
