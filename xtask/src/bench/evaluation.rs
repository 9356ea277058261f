//! Every policy against the bounds, in virtual time: hands its options on to the bench.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{bench_command, run_with_json};
use crate::setup::Setup;

/// What to evaluate.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder with recorded traces; without it, generated ones of the same kinds.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// A fixed, listed subset in less than a minute.
    #[arg(long, conflicts_with = "all")]
    quick: bool,
    /// Every cell: hours.
    #[arg(long)]
    all: bool,
    /// Seeds of each cell: 5, or 1 with `--quick`.
    #[arg(long)]
    seeds: Option<u64>,
    /// Threads: 2.
    #[arg(long)]
    threads: Option<usize>,
    /// Leaves cells with more requests per second out.
    #[arg(long)]
    max_rate: Option<f64>,
    /// Only cells whose name holds this.
    #[arg(long)]
    only: Option<String>,
    /// Appends what is finished to this file, and skips what is in it.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Pit the oracle against every plan that is nearly best.
    #[arg(long, conflicts_with = "arithmetic")]
    check_oracle: bool,
    /// Measure the table of what the arithmetic says.
    #[arg(long)]
    arithmetic: bool,
}

pub(super) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let mut command = bench_command(setup, "simulator", "evaluation");
    for (option, path) in [("--traces", &arguments.traces), ("--resume", &arguments.resume)] {
        if let Some(path) = path {
            command.arg(option).arg(std::path::absolute(path)?);
        }
    }
    let numbers = [
        ("--seeds", arguments.seeds.map(|seeds| seeds.to_string())),
        ("--threads", arguments.threads.map(|threads| threads.to_string())),
        ("--max-rate", arguments.max_rate.map(|rate| rate.to_string())),
        ("--only", arguments.only.clone()),
    ];
    for (option, value) in numbers {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    }
    let flags = [
        ("--quick", arguments.quick),
        ("--all", arguments.all),
        ("--check-oracle", arguments.check_oracle),
        ("--arithmetic", arguments.arithmetic),
    ];
    command.args(flags.iter().filter(|(_, is_set)| *is_set).map(|(option, _)| option));
    run_with_json(&mut command, json)
}
