//! Simulated requests per second of processor time, and a week of traffic: time and memory.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{bench_command, run_with_json};
use crate::setup::Setup;

/// Which week.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Requests per second, a number a line (`.gz` by way of gzip); without it a generated week.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Days of it.
    #[arg(long, default_value_t = 7)]
    days: u32,
    /// Without the week.
    #[arg(long)]
    quick: bool,
}

/// Runs it.
///
/// # Errors
/// When it cannot be built, or the trace cannot be read.
pub(super) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let mut command = bench_command(setup, "simulator", "simulator");
    command.arg("--days").arg(arguments.days.to_string());
    if let Some(trace) = &arguments.trace {
        command.arg("--trace").arg(std::path::absolute(trace)?);
    }
    if arguments.quick {
        command.arg("--quick");
    }
    run_with_json(&mut command, json)
}
