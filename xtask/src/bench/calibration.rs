//! How far the simulator's law of service time is from published measurements, and from the sweeps of our own functions that are there.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{bench_command, run_with_json};
use crate::setup::Setup;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with the published measurements.
    #[arg(long)]
    profiles: PathBuf,
    /// Folder with sweeps of functions; by default those that `bench optimizer` has left.
    #[arg(long)]
    sweeps: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let mut command = bench_command(setup, "simulator", "calibration");
    command.arg("--profiles").arg(std::path::absolute(&arguments.profiles)?);
    let sweeps = arguments.sweeps.clone().unwrap_or_else(|| setup.cache().join("sweeps"));
    if arguments.sweeps.is_some() || sweeps.is_dir() {
        command.arg("--sweeps").arg(std::path::absolute(sweeps)?);
    }
    run_with_json(&mut command, json)
}
