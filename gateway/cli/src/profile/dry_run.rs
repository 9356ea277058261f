//! What an experiment would do: its points, how often each would run, and what that may cost.

use std::fmt::Write as _;

use simulator::report::number::{dollars, duration, plain};
use workers_profiler::{Estimate, Experiment};

use super::expect::Expectation;

/// The dry run's answer.
pub(super) fn text(experiment: &Experiment, expectation: &Expectation) -> String {
    let mut out = String::new();
    let runs = &experiment.runs;
    let _ = writeln!(
        out,
        "{}: {} points, at most {} runs each ({} cold, {} warm), seed {}",
        experiment.name,
        experiment.point_count(),
        runs.per_point,
        runs.cold(),
        runs.warm(),
        experiment.seed
    );
    let mut all = Estimate::default();
    for model in &experiment.models {
        let estimate = expectation.estimate(experiment, model);
        let of = if expectation.profile(&model.name).is_some() {
            "by its profile"
        } else if model.expected.is_given {
            "by what the file expects"
        } else {
            "a guess: nothing is known of this model; give `expected` or `expected_profile`"
        };
        let _ = writeln!(out, "\n{} ({}), {of}:", model.name, model.function);
        for point in &model.points {
            let prediction = expectation.predict(model, point);
            let how = if experiment.is_measured(point) { "" } else { "  (simulated)" };
            let time = plain(prediction.handler_s * 1e3);
            let _ = writeln!(out, "  {:<48} {time:>10} ms{how}", point.to_string());
        }
        let _ = writeln!(out, "  {}", sums(&estimate));
        all = all.plus(estimate);
    }
    let _ = writeln!(out, "\nin all: {}", sums(&all));
    let _ = writeln!(
        out,
        "versions: one a memory size and model, {} for cold runs; all are removed",
        cold_versions(experiment)
    );
    if let Some(usd) = experiment.budget.usd {
        let _ = writeln!(
            out,
            "budget: {}{}",
            dollars(usd),
            if all.usd > usd { ", which will not last" } else { "" }
        );
    }
    if let Some(time) = experiment.budget.time {
        let short = if all.time > time { ", which may not last" } else { "" };
        let _ = writeln!(out, "budget: {}{short}", duration(time.as_secs_f64()));
    }
    out.push_str("dry run: nothing was called\n");
    out
}

fn sums(estimate: &Estimate) -> String {
    format!(
        "at most {} runs, {} invocations, about {} and {}; less where intervals are narrow early",
        plain(estimate.runs as f64),
        plain(estimate.invocations as f64),
        dollars(estimate.usd),
        duration(estimate.time.as_secs_f64().ceil())
    )
}

fn cold_versions(experiment: &Experiment) -> usize {
    let points = experiment.models.iter().flat_map(|model| &model.points);
    points.filter(|point| experiment.is_measured(point)).count() * experiment.runs.cold() as usize
}
