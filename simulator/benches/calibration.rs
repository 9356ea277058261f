//! How far the simulator's law of service time is from published measurements, and from our own functions on the local Lambda.
//!
//! Hypothesis: credit, visible CPUs, quota and a handful of numbers a model reproduce what others measured on Lambda to a few per cent. Baseline: the
//! measurements. What does not fit is printed like the rest, with the reason.
//!
//! `cargo bench -p simulator --bench calibration -- --profiles DIR [--sweeps DIR] [--json FILE]`; the tables are read by path and not kept here.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads its inputs and writes its figures")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use simulator::calibration::{
    Comparison, cold_start, deep_speech, harmony_batch, rust_scaling, sweep, throttle, visible_cpu_tiers,
};
use simulator::profile::{FitErrors, ProfileError};

type Compare = fn(&str) -> Result<Vec<Comparison>, ProfileError>;

/// File below `--profiles` and what compares it.
const PUBLISHED: [(&str, Compare); 6] = [
    ("mbs_deepspeech_lambda.csv", deep_speech),
    ("aws_rust_multithread_lambda.csv", rust_scaling),
    ("lambda_vcpu_tiers.csv", visible_cpu_tiers),
    ("lambda_cpu_throttle_2025-03-01.csv", throttle),
    ("harmonybatch_cpu_grid.csv", harmony_batch),
    ("lambda_perf_rust_coldstart_2026-08-22.csv", |text| cold_start(text, "rust (prov.al2023)")),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1).map(PathBuf::from)
    };
    match run(after("--profiles").as_deref(), after("--sweeps").as_deref(), after("--json").as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(profiles: Option<&Path>, sweeps: Option<&Path>, json: Option<&Path>) -> Result<(), String> {
    if profiles.is_none() && sweeps.is_none() {
        return Err("nothing to compare with: name a folder with `--profiles` or `--sweeps`".to_owned());
    }
    let mut found = Vec::new();
    for (file, compare) in PUBLISHED {
        if let Some(folder) = profiles {
            found.extend(read(&folder.join(file), compare)?);
        }
    }
    if let Some(folder) = sweeps {
        for path in sweep_files(folder)? {
            let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            found.extend(read(&path, |text| sweep(&name, text))?);
        }
    }
    print(&found);
    match json {
        Some(file) => {
            std::fs::write(file, figures(&found)).map_err(|error| format!("{}: {error}", file.display()))
        }
        None => Ok(()),
    }
}

fn read(
    path: &Path,
    compare: impl Fn(&str) -> Result<Vec<Comparison>, ProfileError>,
) -> Result<Vec<Comparison>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    compare(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Sweeps of a folder by name: the files whose first line is a record.
fn sweep_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| {
        let is_lines = path.extension().is_some_and(|extension| extension == "jsonl");
        is_lines && std::fs::read_to_string(path).is_ok_and(|text| text.lines().next().is_some_and(is_record))
    });
    paths.sort();
    Ok(paths)
}

fn is_record(line: &str) -> bool {
    line.contains("\"handler_us\"")
}

fn print(found: &[Comparison]) {
    println!(
        "| measured by | quantity | fitted | places | median | p95 | worst | unseen places: median | p95 | worst |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let three = |errors: FitErrors| {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        format!("{} | {} | {}", percent(errors.median), percent(errors.p95), percent(errors.worst))
    };
    for it in found {
        let held_out = it.held_out.map_or_else(|| "– | – | –".to_owned(), three);
        println!(
            "| {} | {} | {} | {} | {} | {held_out} |",
            it.source,
            it.quantity,
            it.law,
            it.errors.count,
            three(it.errors)
        );
    }
    let mut notes: Vec<(&str, &str)> = Vec::new();
    for it in found.iter().filter(|it| !it.note.is_empty()) {
        if notes.iter().all(|(_, note)| *note != it.note) {
            notes.push((it.source.split(',').next().unwrap_or_default(), it.note));
        }
    }
    for (source, note) in notes {
        println!("\n{source}: {note}.");
    }
}

fn figures(found: &[Comparison]) -> String {
    let three = |errors: FitErrors| json!({ "places": errors.count, "median": errors.median, "p95": errors.p95, "worst": errors.worst });
    let rows: Vec<Value> = found
        .iter()
        .map(|it| {
            json!({
                "source": it.source,
                "quantity": it.quantity,
                "law": it.law,
                "errors": three(it.errors),
                "held_out": it.held_out.map(three),
                "note": it.note,
            })
        })
        .collect();
    let worst = |of: fn(&FitErrors) -> f64| found.iter().map(|it| of(&it.errors)).fold(0.0, f64::max);
    let all = json!({
        "comparisons": rows,
        "worst_median_error": worst(|errors| errors.median),
        "worst_p95_error": worst(|errors| errors.p95),
    });
    format!("{all:#}\n")
}
