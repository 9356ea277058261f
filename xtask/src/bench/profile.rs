//! `penstock profile` on the local Lambda: starts it with the functions that an experiment names, and runs the experiment.
//!
//! Functions are `penstock-MODEL`, as everywhere here; models that are not built yet are. One Lambda vCPU is one core unless told otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::live::{Function, LocalLambda};
use crate::build;
use crate::setup::Setup;

/// Ended by the budget: its results count.
const EXIT_BUDGET: i32 = 75;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The experiment.
    #[arg(value_name = "EXPERIMENT", default_value = "workers/profiler/experiments/thesis.toml")]
    experiment: PathBuf,
    /// Folder of results; one that has a journal is gone on with. Default: `runs/profile-NAME` in the cache.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Begin anew.
    #[arg(long)]
    fresh: bool,
    /// Only say what it would take.
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let binaries = build::binaries(setup.workspace())?;
    let path = &arguments.experiment;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let output = match &arguments.output {
        Some(folder) => folder.clone(),
        None => setup.cache().join("runs").join(format!("profile-{stem}")),
    };
    let mut command = Command::new(&binaries.penstock);
    command.arg("profile").arg(path).arg("--output").arg(&output).arg("--test-credentials");
    if arguments.dry_run {
        return build::run(command.arg("--dry-run"));
    }
    let names = models(&text);
    ensure!(!names.is_empty(), "{} names no function `penstock-MODEL`", path.display());
    let folders = setup.models(&names)?;
    let function = |(name, folder): (&&str, PathBuf)| Function {
        model: (*name).to_owned(),
        folder,
        memory_mib: vec![1024],
    };
    let functions: Vec<Function> = names.iter().zip(folders).map(function).collect();
    let lambda = LocalLambda::start(setup, &binaries, "profile", &functions)?;
    command.args(["--endpoint-url", &lambda.endpoint()]);
    if arguments.fresh {
        command.arg("--fresh");
    }
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success() || status.code() == Some(EXIT_BUDGET), "{command:?} ended with {status}");
    let summary = fs::read(output.join("summary.json")).context("the experiment's summary")?;
    super::write_json(json, &serde_json::from_slice::<Value>(&summary)?)
}

/// Models behind the functions that an experiment names, each once.
fn models(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("function = \"penstock-")?.split('"').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_of_an_experiment_is_found_once() {
        let text = "[[model]]\nfunction = \"penstock-b\"\n  function = \"penstock-a\" # x\nfunction = \"penstock-b\"\nname = \"c\"";
        assert_eq!(models(text), ["a", "b"]);
    }
}
