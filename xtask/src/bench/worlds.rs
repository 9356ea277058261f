//! Random worlds with faults, judged by a reference model of what must hold; and situations with bands.

use std::path::Path;

use anyhow::Result;

use super::{bench_command, run_with_json};
use crate::setup::Setup;

/// How many worlds, and which.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Worlds to judge.
    #[arg(long, default_value_t = 100_000)]
    worlds: u64,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

/// Runs them.
///
/// # Errors
/// When it cannot be built, or a rule was broken.
pub(super) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let mut command = bench_command(setup, "simulator", "worlds");
    for (option, number) in
        [("--worlds", arguments.worlds), ("--from", arguments.from), ("--threads", arguments.threads)]
    {
        command.arg(option).arg(number.to_string());
    }
    run_with_json(&mut command, json)
}

/// Which scenarios, and how often.
#[derive(clap::Args)]
pub(crate) struct ScenarioArguments {
    /// Seeds of each.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Only those whose file name holds this.
    #[arg(long)]
    only: Option<String>,
}

/// Runs the scenarios.
///
/// # Errors
/// When it cannot be built, a band was missed or a rule broken.
pub(super) fn run_scenarios(setup: &Setup, arguments: &ScenarioArguments, json: Option<&Path>) -> Result<()> {
    let mut command = bench_command(setup, "simulator", "scenarios");
    command.arg("--seeds").arg(arguments.seeds.to_string());
    if let Some(only) = &arguments.only {
        command.arg("--only").arg(only);
    }
    run_with_json(&mut command, json)
}
