//! The study that is asked for: a file, changed by what stands on the command line, or the command line alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use simulator::arrivals::spec::{ArrivalSpec, TraceSpec};
use simulator::study::{Problem, Study};

use super::Arguments;

/// What problems of the command line's own study are told of.
const COMMAND_LINE: &str = "command line";

/// A study and where it is from.
pub(super) struct Question {
    /// Its file as it was named.
    pub(super) file: String,
    pub(super) text: String,
    pub(super) study: Study,
    /// Where the files that it names are looked for.
    pub(super) folder: PathBuf,
    /// Names that stand on the command line: looked for from here.
    pub(super) from_here: Vec<String>,
}

/// Reads the study and puts the command line's values into it.
pub(super) fn read(arguments: &Arguments) -> Result<Question, Problem> {
    let (file, text, folder) = match &arguments.study {
        Some(path) => {
            let file = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| whole(&file, &error))?;
            (file, text, path.parent().unwrap_or(Path::new("")).to_path_buf())
        }
        None => (COMMAND_LINE.to_owned(), of_arguments(arguments), PathBuf::new()),
    };
    let mut study = Study::from_toml(&file, &text)?;
    let mut from_here = Vec::new();
    if let Some(trace) = &arguments.trace {
        let name = trace.display().to_string();
        let mut spec = TraceSpec::of_file(&name);
        spec.step_seconds = positive("--trace-step-s", arguments.trace_step_s)?;
        spec.scale_to_rps = arguments.scale_to_rps;
        study.arrivals = ArrivalSpec::Trace(spec);
        from_here.push(name);
    }
    if let Some(profile) = &arguments.profile {
        study.model.profile.clone_from(profile);
        from_here.push(profile.clone());
    }
    if let Some(slo_ms) = arguments.slo_ms {
        study.model.slo_ms = positive("--slo-ms", slo_ms)?;
    }
    if let Some(hours) = arguments.hours {
        study.hours = Some(positive("--hours", hours)?);
    }
    if !arguments.policies.is_empty() {
        study.policies.clone_from(&arguments.policies);
    }
    study.seeds = arguments.seeds.unwrap_or(study.seeds);
    Ok(Question { file, text, study, folder, from_here })
}

/// A study in the command line's words; what it leaves out has defaults.
fn of_arguments(arguments: &Arguments) -> String {
    let name =
        |path: &Option<PathBuf>| path.as_ref().map_or(String::new(), |path| path.display().to_string());
    let trace = name(&arguments.trace);
    let mut text = String::new();
    // Writing into a string cannot fail. Rust's quoted strings are TOML's, for names that files have.
    let _ = write!(
        text,
        "title = {:?}\n[model]\nprofile = {:?}\nslo_ms = {:?}\n[arrivals]\nkind = \"trace\"\nfile = {:?}\n[break_even]\n",
        format!("Traffic of {trace}"),
        arguments.profile.as_deref().unwrap_or_default(),
        arguments.slo_ms.unwrap_or_default(),
        trace
    );
    text
}

fn whole(file: &str, reason: &impl ToString) -> Problem {
    Problem { file: file.to_owned(), line: None, reason: reason.to_string() }
}

fn positive(name: &str, value: f64) -> Result<f64, Problem> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(whole(COMMAND_LINE, &format!("`{name}`: must be above 0, is {value}")))
}
