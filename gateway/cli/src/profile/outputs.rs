//! What an experiment leaves behind: records, summary, report and profiles, in one folder.
//!
//! Written anew from the journal each time, so they always fit together.

use std::path::Path;

use serde_json::json;
use workers_profiler::{Experiment, Journal, Run, export};

use super::expect::Expectation;
use super::figures::figures;
use super::recommend::recommendations;
use super::report::{self, FitNote, Report};
use super::{ProfileError, fit, simulated, terminal};

/// Writes everything into `folder`, and a table to the terminal.
pub(super) fn write(
    folder: &Path,
    experiment: &Experiment,
    expectation: &Expectation,
    journal: &Journal,
    weight: f64,
) -> Result<(), ProfileError> {
    let measured: Vec<&Run> = journal.runs().iter().collect();
    let (mut computed, mut fits): (Vec<Run>, Vec<FitNote>) = (Vec::new(), Vec::new());
    let mut given_up = journal.given_up().to_vec();
    std::fs::create_dir_all(folder.join("profiles")).map_err(|error| ProfileError::output(folder, &error))?;
    for model in &experiment.models {
        let fitted = fit::fit(&model.name, &measured);
        let file = folder.join(format!("profiles/{}.toml", model.name));
        let profile = match &fitted {
            Ok(fitted) => {
                put(&file, &fit::profile_text(fitted, &experiment.name))?;
                Some(fitted.profile.clone())
            }
            Err(_) => expectation.profile(&model.name).cloned(),
        };
        put(
            &folder.join(format!("profiles/{}.jsonl", model.name)),
            &fit::sweep_lines(&model.name, &measured),
        )?;
        if let Some(profile) = profile {
            let (runs, left_out) =
                simulated::runs(experiment, model, &profile, &measured, &expectation.prices);
            computed.extend(runs);
            given_up.extend(left_out.into_iter().map(|(point, reason)| (model.name.clone(), point, reason)));
        } else {
            let missing = model.points.iter().filter(|point| !experiment.is_measured(point));
            let reason = "cannot be simulated: too little was measured to fit a law";
            given_up.extend(missing.map(|point| (model.name.clone(), *point, reason.to_owned())));
        }
        fits.push(FitNote { model: model.name.clone(), fitted: fitted.map_err(|error| error.to_string()) });
    }
    for (run, id) in computed.iter_mut().zip(measured.len() as u64..) {
        run.id = id;
    }
    let runs: Vec<&Run> = measured.into_iter().chain(&computed).collect();
    let told = |error: export::ExportError| ProfileError::output(folder, &error);
    export::write_csv(&folder.join("records.csv"), runs.iter().copied()).map_err(told)?;
    export::write_parquet(&folder.join("records.parquet"), runs.iter().copied()).map_err(told)?;
    let points = figures(experiment, &runs);
    let report = Report {
        experiment,
        recommendations: recommendations(&points, weight),
        points,
        fits,
        given_up,
        usd: runs.iter().filter(|run| !run.simulated).map(|run| run.cost_usd()).sum(),
        weight,
    };
    put(&folder.join("report.html"), &report::html(&report))?;
    put(&folder.join("summary.json"), &summary(&report))?;
    print!("{}", terminal::text(&report, folder));
    Ok(())
}

fn summary(report: &Report<'_>) -> String {
    let given_up = |(model, point, reason): &(String, workers_profiler::Point, String)| json!({ "model": model, "point": point, "reason": reason });
    let fits = report.fits.iter().filter_map(|note| {
        let errors = note.fitted.as_ref().ok()?.errors;
        Some((note.model.clone(), json!({ "points": errors.count, "median_error": errors.median, "p95_error": errors.p95, "worst_error": errors.worst })))
    });
    let value = json!({
        "experiment": report.experiment.name,
        "usd": report.usd,
        "weight": report.weight,
        "points": report.points,
        "recommendations": report.recommendations,
        "fits": fits.collect::<serde_json::Map<_, _>>(),
        "given_up": report.given_up.iter().map(given_up).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn put(path: &Path, text: &str) -> Result<(), ProfileError> {
    std::fs::write(path, text).map_err(|error| ProfileError::output(path, &error))
}
