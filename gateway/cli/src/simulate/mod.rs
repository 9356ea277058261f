//! `penstock simulate`: what would this traffic cost?
//!
//! The simulator decides what is run and what it means; here are the files, the threads, the progress bar and the exit code.

mod files;
mod question;
mod resume;
mod sweep;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use simulator::report;
use simulator::study::{self, PolicyName, Prepared, Problem};

use self::files::Files;
use self::resume::Resume;
use crate::commands::{EXIT_CONFIG, fail};

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The study, TOML; may be left out if `--trace`, `--profile` and `--slo-ms` are given.
    #[arg(value_name = "STUDY", required_unless_present_all = ["trace", "profile", "slo_ms"])]
    study: Option<PathBuf>,
    /// Traffic: requests by step, one count a line or comma separated; may end in `.gz`. Instead of the study's.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Seconds of a step of the trace.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, requires = "trace")]
    trace_step_s: f64,
    /// Scale the trace to this mean rate.
    #[arg(long, value_name = "REQUESTS_PER_S", requires = "trace")]
    scale_to_rps: Option<f64>,
    /// The model: a profile's file (`.toml`, `.jsonl` of a sweep, `.csv`) or the name of one that ships with the simulator. Instead of the study's.
    #[arg(long, value_name = "FILE|NAME")]
    profile: Option<String>,
    /// Latency objective, milliseconds. Instead of the study's.
    #[arg(long, value_name = "MS")]
    slo_ms: Option<f64>,
    /// Policies to compare, the one that is asked about first; may be repeated. Instead of the study's.
    #[arg(long = "policy", value_name = "NAME", value_parser = policy)]
    policies: Vec<PolicyName>,
    /// Seeds of each policy. Instead of the study's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Length of the traffic, hours. Instead of the study's.
    #[arg(long, value_name = "HOURS")]
    hours: Option<f64>,
    /// Runs at a time; default: as many as there are CPUs.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write the report's values here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as a page here; it needs nothing but itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keep each finished run here, a line of JSON each, and begin with those that are there already.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

fn policy(text: &str) -> Result<PolicyName, String> {
    PolicyName::named(text).ok_or_else(|| {
        let known: Vec<&str> = PolicyName::ALL.iter().map(|policy| policy.name()).collect();
        format!("known policies: {}", known.join(", "))
    })
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum SimulateError {
    #[error(transparent)]
    Input(#[from] Problem),
    #[error("cannot write `{path}`: {reason}")]
    Output { path: String, reason: String },
}

impl SimulateError {
    fn output(path: &Path, reason: &impl ToString) -> Self {
        Self::Output { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// Simulates and reports.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match simulate(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ SimulateError::Input(_)) => fail(&error, EXIT_CONFIG),
        Err(error @ SimulateError::Output { .. }) => fail(&error, 1),
    }
}

fn simulate(arguments: &Arguments) -> Result<(), SimulateError> {
    let question = question::read(arguments)?;
    let files = Files::new(question.folder, question.from_here);
    let read = |name: &str| files.read(name);
    let essence = question.study.essence();
    let prepared = Prepared::new(&question.file, &question.text, question.study, &read)?;
    let mut resume = Resume::open(arguments.resume.as_deref(), &files.fingerprint(&essence))?;
    let cells = prepared.cells();
    let missing: Vec<_> = cells.iter().copied().filter(|cell| !resume.has(cell)).collect();
    sweep::run(&prepared, &missing, arguments.threads, &mut resume)?;
    let found = study::report(&prepared, resume.records());
    print!("{}", report::text(&found));
    if let Some(path) = &arguments.json {
        let mut text =
            serde_json::to_string_pretty(&found).map_err(|error| SimulateError::output(path, &error))?;
        text.push('\n');
        write(path, &text)?;
    }
    if let Some(path) = &arguments.html {
        write(path, &report::html(&found))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), SimulateError> {
    std::fs::write(path, text).map_err(|error| SimulateError::output(path, &error))
}
