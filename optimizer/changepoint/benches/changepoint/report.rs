//! The table and the JSON report.

use crate::cell::{Cell, FRESH_WINDOWS, KINDS, Outcome, PULSES, RATIOS, reference};
use crate::life::Life;
use crate::ramp::Ramp;
use crate::trace::Replay;
use serde_json::{Value, json};

fn false_alarms_per_10k(cell: &Cell, outcome: &Outcome) -> f64 {
    outcome.false_alarms as f64 * 1e4 / cell.plan.windows as f64
}

/// Worst median delay over the reference, of the detector with this index.
fn worst(cells: &[Cell], detector: usize, fresh: bool) -> f64 {
    let ratio = |cell: &Cell, step: usize| {
        let outcome = &cell.outcomes[detector];
        let delays = if fresh { &outcome.fresh } else { &outcome.warm };
        delays[step].median() / reference(&cell.yardsticks[step])
    };
    let steps = cells.iter().flat_map(|cell| (0..RATIOS.len()).map(move |step| ratio(cell, step)));
    steps.fold(0.0, f64::max)
}

fn worst_false_alarms(cells: &[Cell], detector: usize) -> f64 {
    cells.iter().map(|cell| false_alarms_per_10k(cell, &cell.outcomes[detector])).fold(0.0, f64::max)
}

pub(crate) fn print_cells(cells: &[Cell]) {
    println!(
        "dispersion  rate   step   bound  oracle p50/p95 | bocpd p50/p95   ratio  missed  fresh p50  onset err | cusum p50/p95   ratio"
    );
    for cell in cells {
        for (step, ratio) in RATIOS.iter().enumerate() {
            let yardstick = &cell.yardsticks[step];
            let (bocpd, cusum) = (&cell.outcomes[0], &cell.outcomes[1]);
            let over = |outcome: &Outcome| outcome.warm[step].median() / reference(yardstick);
            println!(
                "{:>10} {:>5}  x{:<5.2} {:>5}  {:>6}/{:<6} | {:>6}/{:<6} {:>6.2}{} {:>6.3} {:>9} {:>10} | {:>6}/{:<6} {:>6.2}",
                cell.plan.dispersion,
                cell.plan.rate,
                ratio,
                yardstick.bound,
                yardstick.oracle.median(),
                yardstick.oracle.quantile(0.95),
                bocpd.warm[step].median(),
                bocpd.warm[step].quantile(0.95),
                over(bocpd),
                if over(bocpd) > 1.5 { '*' } else { ' ' },
                bocpd.warm[step].missed_share(),
                bocpd.fresh[step].median(),
                bocpd.onset_errors[step].median(),
                cusum.warm[step].median(),
                cusum.warm[step].quantile(0.95),
                over(cusum),
            );
        }
        for (kind, outcome) in KINDS.iter().zip(&cell.outcomes) {
            let pulses: Vec<String> = PULSES
                .iter()
                .zip(&outcome.pulses)
                .map(|((ratio, length), pulse)| {
                    format!(
                        "x{ratio} for {length}: missed {:.2}, found {}, end missed {:.2}, found {}, regime off {:.3}",
                        pulse.found.missed_share(),
                        pulse.found.median(),
                        pulse.end_found.missed_share(),
                        pulse.end_found.median(),
                        middle(&pulse.regime_error.0),
                    )
                })
                .collect();
            println!(
                "    {:<6} false alarms per 10k: {:.2}, dispersion learned {:.2}; pulses {}",
                kind.name(),
                false_alarms_per_10k(cell, outcome),
                outcome.dispersion_learned,
                pulses.join("; ")
            );
        }
    }
    for (index, kind) in KINDS.iter().enumerate() {
        println!(
            "{}: worst median delay over bound {:.2} ({:.2} after only {FRESH_WINDOWS} windows), worst false alarms per 10k {:.2}",
            kind.name(),
            worst(cells, index, false),
            worst(cells, index, true),
            worst_false_alarms(cells, index)
        );
    }
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

pub(crate) fn json(
    cells: &[Cell],
    lives: &[Life],
    ramps: &[Ramp],
    traces: Option<&[Replay]>,
    seed: u64,
) -> Value {
    json!({
        "worst_delay_over_bound": worst(cells, 0, false),
        "false_alarms_per_10k_worst": worst_false_alarms(cells, 0),
        "step_us_p99": lives[0].step_us_p99,
        "worst_delay_over_bound_after_300_windows": worst(cells, 0, true),
        "cusum_worst_delay_over_bound": worst(cells, 1, false),
        "cusum_false_alarms_per_10k_worst": worst_false_alarms(cells, 1),
        "seed": seed,
        "cells": cells.iter().map(cell_json).collect::<Vec<_>>(),
        "life": lives.iter().map(life_json).collect::<Vec<_>>(),
        "ramps": ramps.iter().map(|ramp| json!({
            "what": ramp.what, "detector": ramp.detector, "windows": ramp.windows, "alarms": ramp.alarms,
        })).collect::<Vec<_>>(),
        "traces": traces.unwrap_or_default().iter().map(trace_json).collect::<Vec<_>>(),
    })
}

fn cell_json(cell: &Cell) -> Value {
    let steps: Vec<Value> = RATIOS
        .iter()
        .enumerate()
        .map(|(step, ratio)| {
            let yardstick = &cell.yardsticks[step];
            let mut value = json!({
                "ratio": ratio,
                "bound": yardstick.bound,
                "oracle_median": yardstick.oracle.median(),
                "oracle_p95": yardstick.oracle.quantile(0.95),
            });
            for (kind, outcome) in KINDS.iter().zip(&cell.outcomes) {
                let delays = &outcome.warm[step];
                value[kind.name()] = json!({
                    "repetitions": delays.count(),
                    "median": delays.median(),
                    "p05": delays.quantile(0.05),
                    "p95": delays.quantile(0.95),
                    "missed_share": delays.missed_share(),
                    "median_over_reference": delays.median() / reference(yardstick),
                    "median_after_300_windows": outcome.fresh[step].median(),
                    "p95_after_300_windows": outcome.fresh[step].quantile(0.95),
                    "onset_error_median": outcome.onset_errors[step].median(),
                });
            }
            value
        })
        .collect();
    let pulses = |outcome: &Outcome| {
        let list = PULSES.iter().zip(&outcome.pulses);
        list.map(|((ratio, windows), pulse)| {
            json!({
                "ratio": ratio, "windows": windows, "missed_share": pulse.found.missed_share(),
                "median": pulse.found.median(), "end_missed_share": pulse.end_found.missed_share(),
                "end_median": pulse.end_found.median(), "regime_error_median": middle(&pulse.regime_error.0),
            })
        })
        .collect::<Vec<_>>()
    };
    let detectors: serde_json::Map<String, Value> = KINDS
        .iter()
        .zip(&cell.outcomes)
        .map(|(kind, outcome)| {
            let value = json!({
                "false_alarms_per_10k": false_alarms_per_10k(cell, outcome),
                "dispersion_learned": outcome.dispersion_learned,
                "pulses": pulses(outcome),
            });
            (kind.name().to_owned(), value)
        })
        .collect();
    json!({
        "dispersion": cell.plan.dispersion, "rate": cell.plan.rate, "seed": cell.plan.seed,
        "stationary_windows": cell.plan.windows, "detectors": detectors, "steps": steps,
    })
}

fn life_json(life: &Life) -> Value {
    json!({
        "detector": life.name, "step_us_p50": life.step_us_p50, "step_us_p99": life.step_us_p99,
        "step_us_max": life.step_us_max, "segment_medians_us": life.segments_us,
        "state_bytes": life.state_bytes, "resident_kib": life.resident_kib,
    })
}

fn trace_json(replay: &Replay) -> Value {
    let changes: Vec<Value> = replay
        .changes
        .iter()
        .take(200)
        .map(|(window, change)| json!({ "window": window, "change": change }))
        .collect();
    json!({
        "trace": replay.name, "detector": replay.detector, "windows": replay.windows,
        "alarms": replay.alarms, "first_changes": changes,
    })
}
