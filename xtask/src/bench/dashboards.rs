//! Panels of the dashboards that get no data from a real Prometheus, which scrapes a gateway under load.
//!
//! The work is done by `dashboards/verify`; this finds what it needs. Deliberately absent: Grafana.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::build;
use crate::setup::Setup;

/// Tests of the alert rules.
const RULE_TESTS: [&str; 2] =
    ["dashboards/prometheus/tests/functions.test.yml", "dashboards/prometheus/tests/gateway.test.yml"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of load.
    #[arg(long, default_value_t = 240.0)]
    seconds: f64,
    /// Folder for screenshots, drawn with Grafana's components in headless Chromium. Needs npm and chromium; the first time takes minutes.
    #[arg(long, value_name = "FOLDER")]
    screenshots: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When a generated file is stale, an alert's test fails, something cannot be started, or a panel has no data.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    check(setup)?;
    test_rules(setup)?;
    setup.models(&["imdb-sentiment", "identity"])?;
    let binaries = build::binaries(setup.workspace())?;
    let folder = setup.cache().join("runs/dashboards");
    let data = setup.cache().join("runs/dashboards-data.json");
    let mut command = python(setup)?;
    command.args(["-m", "dashboards.verify"]);
    command.arg("--penstock").arg(&binaries.penstock).arg("--bootstrap").arg(&binaries.bootstrap);
    command.arg("--onnxruntime").arg(setup.onnxruntime_library()?);
    command.arg("--models").arg(setup.cache().join("models")).arg("--folder").arg(&folder);
    command.arg("--seconds").arg(arguments.seconds.to_string()).arg("--data").arg(&data);
    let verdict = super::run_with_json(&mut command, json);
    if let Some(output) = &arguments.screenshots {
        let mut command = python(setup)?;
        command.arg("dashboards/render/shoot.py").arg("--data").arg(&data);
        command.arg("--work").arg(setup.cache().join("render"));
        build::run(command.arg("--output").arg(std::path::absolute(output)?))?;
    }
    verdict
}

/// Refuses dashboards and rules that are not what the builder writes, and queries of metrics that do not exist; then the builder's own tests.
///
/// # Errors
/// When something is refused or a test fails; what it is has been printed.
pub(crate) fn check(setup: &Setup) -> Result<()> {
    build::run(python(setup)?.args(["-m", "dashboards.builder", "--check"]))?;
    let tests =
        ["-m", "unittest", "discover", "--start-directory", "dashboards/tests", "--top-level-directory", "."];
    build::run(python(setup)?.args(tests))
}

fn test_rules(setup: &Setup) -> Result<()> {
    let mut command = Command::new("promtool");
    command.args(["test", "rules"]).args(RULE_TESTS).current_dir(setup.workspace());
    build::run(&mut command)
        .context("the alerts' tests; promtool and prometheus are in the package `prometheus`")
}

fn python(setup: &Setup) -> Result<Command> {
    let mut command = Command::new(setup.venv()?);
    command.current_dir(setup.workspace());
    Ok(command)
}
