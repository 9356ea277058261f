//! The table, and how far the aims are met.

use serde_json::{Value, json};

use crate::Arguments;
use crate::policies::BASELINES;
use crate::progress::CellRuns;
use crate::world::PERCENTILE;

/// Columns of the table.
const SHOWN: [&str; 13] = [
    "floor",
    "oracle",
    "best_fixed",
    "grey_box",
    "black_box",
    "triton",
    "batch",
    "mbs",
    "harmony_batch",
    "kserve",
    "unbatched_best",
    "unbatched_1769",
    "unbatched_3008",
];

/// One policy on one cell over the seeds.
#[derive(Clone, Copy, Debug)]
struct Figures {
    usd: f64,
    usd_spread: f64,
    late: f64,
    late_worst: f64,
    /// INIT as a share of all dollars.
    init_share: f64,
    trials: f64,
    change_points: f64,
}

/// Aims on one cell.
#[derive(Clone, Debug)]
struct Aims {
    name: String,
    ratio_to_oracle: f64,
    /// Points (shares) that the clairvoyant is better by.
    slo_gap: f64,
    clairvoyant_keeps: bool,
    grey_keeps: bool,
    /// Beyond the cheapest baseline that keeps the objective; `None`: none does.
    excess: Option<(&'static str, f64)>,
    /// Share of the oracle's saving against unbatched at 3008 MiB.
    saving: Option<(f64, f64)>,
}

fn figures(cell: &CellRuns, policy: &str) -> Option<Figures> {
    let runs: Vec<&Value> =
        cell.seeds.values().map(|run| &run[policy]).filter(|run| run.is_object()).collect();
    let n = runs.len() as f64;
    if runs.is_empty() {
        return None;
    }
    let mean = |key: &str| runs.iter().map(|run| run[key].as_f64().unwrap_or(0.0)).sum::<f64>() / n;
    let usd = mean("usd_per_million");
    let variance =
        runs.iter().map(|run| (run["usd_per_million"].as_f64().unwrap_or(0.0) - usd).powi(2)).sum::<f64>()
            / (n - 1.0).max(1.0);
    Some(Figures {
        usd,
        usd_spread: variance.sqrt(),
        late: mean("late_share"),
        late_worst: runs.iter().map(|run| run["late_share"].as_f64().unwrap_or(0.0)).fold(0.0, f64::max),
        init_share: mean("init_share"),
        trials: mean("trials"),
        change_points: mean("change_points"),
    })
}

fn aims(cell: &CellRuns) -> Option<Aims> {
    let of = |policy| figures(cell, policy);
    let (grey, oracle, clairvoyant) = (of("grey_box")?, of("oracle")?, of("clairvoyant")?);
    let allowed = 1.0 - PERCENTILE;
    let best = BASELINES
        .iter()
        .filter_map(|&name| Some((name, of(name)?)))
        .filter(|(_, it)| it.late <= allowed)
        .min_by(|a, b| a.1.usd.total_cmp(&b.1.usd));
    // A policy that is cheaper and keeps the objective is a bound as well: the oracle knows its plans, too.
    let oracle = match best {
        Some((_, best)) if best.usd < oracle.usd => Figures { usd: best.usd, ..oracle },
        _ => oracle,
    };
    let saving = of("unbatched_3008").map(|unbatched| {
        ((unbatched.usd - grey.usd) / (unbatched.usd - oracle.usd), 1.0 - grey.usd / unbatched.usd)
    });
    Some(Aims {
        name: cell.name.clone(),
        ratio_to_oracle: grey.usd / oracle.usd,
        slo_gap: grey.late - clairvoyant.late,
        clairvoyant_keeps: clairvoyant.late <= allowed,
        grey_keeps: grey.late <= allowed,
        excess: best.map(|(name, it)| (name, grey.usd / it.usd - 1.0)),
        saving,
    })
}

/// Prints everything; gives the figures for JSON.
pub fn print(cells: &[CellRuns], arguments: &Arguments) -> Value {
    let cells: Vec<&CellRuns> = cells.iter().filter(|cell| !cell.seeds.is_empty()).collect();
    println!(
        "Dollars per million requests (± deviation over {} seeds), and % outside the objective",
        arguments.seeds
    );
    for cell in &cells {
        print_cell(cell);
    }
    let aims: Vec<Aims> = cells.iter().filter_map(|cell| aims(cell)).collect();
    print_aims(&aims);
    let (grey, black) = (relearning(&cells, "grey_box"), relearning(&cells, "black_box"));
    println!(
        "\ntrials per run and per change-point: grey box {:.1}, {:.2}; black box {:.1}, {:.2}",
        grey.0, grey.1, black.0, black.1
    );
    let worst =
        |of: &dyn Fn(&Aims) -> Option<f64>| aims.iter().filter_map(of).fold(f64::NEG_INFINITY, f64::max);
    let least = |of: &dyn Fn(&Aims) -> Option<f64>| aims.iter().filter_map(of).fold(f64::INFINITY, f64::min);
    let missed = aims.iter().filter(|it| it.clairvoyant_keeps && !it.grey_keeps).count();
    json!({
        "worst_ratio_to_oracle": worst(&|it| Some(it.ratio_to_oracle)),
        "median_ratio_to_oracle": median(aims.iter().map(|it| it.ratio_to_oracle).collect()),
        "worst_slo_gap_to_clairvoyant": worst(&|it| Some(it.slo_gap)),
        "median_slo_gap_to_clairvoyant": median(aims.iter().map(|it| it.slo_gap).collect()),
        "worst_excess_over_best_baseline": worst(&|it| it.excess.map(|(_, excess)| excess)),
        "median_excess_over_best_baseline":
            median(aims.iter().filter_map(|it| it.excess.map(|(_, excess)| excess)).collect()),
        "min_saving_share_of_oracle": least(&|it| it.saving.map(|(share, _)| share)),
        "median_saving_share_of_oracle":
            median(aims.iter().filter_map(|it| it.saving.map(|(share, _)| share)).collect()),
        "cells_with_saving_of_62_percent": aims.iter().filter(|it| it.saving.is_some_and(|(_, saved)| saved >= 0.62)).count(),
        "cells_below_99_percent_though_clairvoyant_is_not": missed,
        "cells": aims.len(),
        "cells_within_1_05_of_oracle": aims.iter().filter(|it| it.ratio_to_oracle <= 1.05).count(),
        "cells_within_half_a_point_of_clairvoyant": aims.iter().filter(|it| it.slo_gap <= 0.005).count(),
        "cells_within_2_percent_of_best_baseline":
            aims.iter().filter(|it| it.excess.is_none_or(|(_, excess)| excess <= 0.02)).count(),
        "cells_with_0_95_of_the_saving":
            aims.iter().filter(|it| it.saving.is_none_or(|(share, _)| share >= 0.95)).count(),
        "trials_per_change_point": { "grey_box": grey.1, "black_box": black.1 },
        "trials_per_run": { "grey_box": grey.0, "black_box": black.0 },
        "seeds": arguments.seeds,
        "published_traces": arguments.traces.is_some(),
        "table": cells.iter().map(|cell| row(cell)).collect::<Vec<_>>(),
    })
}

fn print_cell(cell: &CellRuns) {
    println!("\n{}", cell.name);
    for policy in SHOWN.iter().copied().chain(["best_fixed_cold", "clairvoyant"]) {
        let Some(it) = figures(cell, policy) else { continue };
        let mark = if it.late > 1.0 - PERCENTILE { "misses" } else { "" };
        println!(
            "  {policy:<16} {:>9.3} ± {:<7.3} {:>7.2} % (worst {:.2} %) {:>6.1} % INIT  {mark}",
            it.usd,
            it.usd_spread,
            it.late * 100.0,
            it.late_worst * 100.0,
            it.init_share * 100.0
        );
    }
}

fn print_aims(aims: &[Aims]) {
    println!(
        "\n{:<52} {:>9} {:>9} {:>24} {:>9} {:>7}",
        "cell", "/ oracle", "SLO gap", "beyond best baseline", "of saving", "saved"
    );
    for it in aims {
        let excess = it
            .excess
            .map_or("none keeps it".to_owned(), |(name, excess)| format!("{:+.1} % {name}", excess * 100.0));
        let (share, saved) = it.saving.map_or((f64::NAN, f64::NAN), |it| it);
        println!(
            "{:<52} {:>9.3} {:>7.2} % {:>24} {:>9.3} {:>5.0} %{}",
            it.name,
            it.ratio_to_oracle,
            it.slo_gap * 100.0,
            excess,
            share,
            saved * 100.0,
            if it.clairvoyant_keeps && !it.grey_keeps { "  below 99 %" } else { "" }
        );
    }
}

/// Trials per run, and per regime (the first one included).
fn relearning(cells: &[&CellRuns], policy: &str) -> (f64, f64) {
    let all: Vec<Figures> = cells.iter().filter_map(|cell| figures(cell, policy)).collect();
    let trials: f64 = all.iter().map(|it| it.trials).sum();
    let regimes: f64 = all.iter().map(|it| it.change_points + 1.0).sum();
    (trials / all.len().max(1) as f64, trials / regimes.max(1.0))
}

fn row(cell: &CellRuns) -> Value {
    let mut row = json!({ "cell": cell.cell, "name": cell.name });
    for policy in SHOWN.iter().copied().chain(["best_fixed_cold", "clairvoyant"]) {
        if let Some(it) = figures(cell, policy) {
            row[policy] = json!({
                "usd_per_million": it.usd,
                "deviation": it.usd_spread,
                "late_share": it.late,
                "worst_late_share": it.late_worst,
                "init_share": it.init_share,
                "trials": it.trials,
                "change_points": it.change_points,
            });
        }
    }
    row
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
