//! How many operating points each policy has to try before it serves within 5 % of the best, and what that costs in late answers.
//!
//! The world replays invocations that were measured live, one sweep a model. What is best is found by running every measured place and
//! batch bound as a fixed plan, with closing times from the measured quantiles. Then each policy starts with no knowledge, over many
//! seeds. *Trials to 5 %*: for the grey box, trials begun before the plan in force costs at most 1.05 of the best and keeps the objective; for the
//! policies that measure whole plans, the first trial of such a plan (that it is the best is known only later: this favours them).
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

mod best;
mod models;
mod policies;
#[path = "../../tests/support/mod.rs"]
mod support;

use models::Model;
use optimizer_tuner::PolicyKind;
use policies::Outcome;
use serde_json::{Value, json};

/// Stands for "never" in the JSON.
const NEVER: f64 = 9999.0;

fn main() {
    let mut sweeps = Vec::new();
    let mut json_path = None;
    let mut seeds = 20;
    let mut policies = POLICIES.to_vec();
    let mut shows_events = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("`{word}` needs a value"));
        match word.as_str() {
            "--bench" => {}
            "--sweep" => sweeps.push(value()),
            "--json" => json_path = Some(value()),
            "--policy" => {
                let wanted = value();
                policies.retain(|&kind| name(kind) == wanted);
            }
            "--events" => shows_events = true,
            "--seeds" => seeds = value().parse().unwrap(),
            _ => panic!("unknown option `{word}`"),
        }
    }
    let models: Vec<Model> = if sweeps.is_empty() {
        println!("no --sweep MODEL=FILE: models by the credit law, not measured");
        seeds = seeds.min(3);
        Model::synthetic()
    } else {
        sweeps.iter().map(|sweep| Model::from_sweep(sweep)).collect()
    };
    let mut all: Vec<(PolicyKind, Vec<Outcome>)> = policies.iter().map(|&kind| (kind, Vec::new())).collect();
    let mut details = Vec::new();
    for model in &models {
        let best = best::search(model);
        println!(
            "\n{}: {} req/s, {:.0} ms at p99; best of {} fixed plans: {:.4} USD per million with {} ({} keep the objective)",
            model.name,
            model.rate,
            model.slo_s * 1e3,
            best.plans,
            best.usd_per_million,
            best.label,
            best.feasible
        );
        println!(
            "{:<10} {:>9} {:>7} {:>7} {:>7} {:>11} {:>12} {:>11}",
            "policy", "median", "worst", "never", "trials", "late share", "cost / best", "USD spent"
        );
        for (kind, outcomes) in &mut all {
            let runs = policies::run(model, &best, *kind, seeds, shows_events);
            details.push(line(model, *kind, &runs));
            outcomes.extend(runs);
        }
    }
    let mut figures = json!({ "models": details, "seeds": seeds, "measured": !sweeps.is_empty() });
    for (kind, outcomes) in &all {
        figures[name(*kind)] = json!({
            "median_trials_to_5pct": median(outcomes.iter().map(|it| it.trials_to_5pct.unwrap_or(NEVER)).collect()),
            "worst_trials_to_5pct": outcomes.iter().map(|it| it.trials_to_5pct.unwrap_or(NEVER)).fold(0.0, f64::max),
            "outside_slo_share": outcomes.iter().map(|it| it.late_share).fold(0.0, f64::max),
        });
    }
    println!("\n{}", serde_json::to_string_pretty(&figures).unwrap());
    if let Some(path) = json_path {
        std::fs::write(path, serde_json::to_string_pretty(&figures).unwrap() + "\n").unwrap();
    }
}

const POLICIES: [PolicyKind; 4] =
    [PolicyKind::GreyBox, PolicyKind::BlackBox, PolicyKind::Grid, PolicyKind::Random];

fn name(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::GreyBox => "greybox",
        PolicyKind::BlackBox => "blackbox",
        PolicyKind::Grid => "grid",
        PolicyKind::Random => "random",
        PolicyKind::Pinned => "pinned",
        PolicyKind::Observe => "observe",
    }
}

fn line(model: &Model, kind: PolicyKind, runs: &[Outcome]) -> Value {
    let trials: Vec<f64> = runs.iter().map(|it| it.trials_to_5pct.unwrap_or(NEVER)).collect();
    let never = runs.iter().filter(|it| it.trials_to_5pct.is_none()).count();
    let mean = |of: fn(&Outcome) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    let worst_late = runs.iter().map(|it| it.late_share).fold(0.0, f64::max);
    let figures = json!({
        "model": model.name,
        "policy": name(kind),
        "median_trials_to_5pct": median(trials.clone()),
        "worst_trials_to_5pct": trials.iter().copied().fold(0.0, f64::max),
        "never": never,
        "mean_trials": mean(|it| it.trials),
        "mean_late_share": mean(|it| it.late_share),
        "worst_late_share": worst_late,
        "median_final_cost_over_best": median(runs.iter().map(|it| it.final_over_best).collect()),
        "worst_final_cost_over_best": runs.iter().map(|it| it.final_over_best).fold(0.0, f64::max),
        "mean_exploration_usd": mean(|it| it.exploration_usd),
    });
    println!(
        "{:<10} {:>9.1} {:>7.0} {:>7} {:>7.1} {:>11.4} {:>12.3} {:>11.6}",
        name(kind),
        median(trials.clone()),
        trials.iter().copied().fold(0.0, f64::max),
        never,
        mean(|it| it.trials),
        worst_late,
        median(runs.iter().map(|it| it.final_over_best).collect()),
        mean(|it| it.exploration_usd),
    );
    figures
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
