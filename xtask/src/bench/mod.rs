//! Measurements by name. Each prints a table for people and, on request, writes one JSON object.

pub(crate) mod answers;
mod beside;
mod bulk;
mod calibration;
mod console;
pub(crate) mod dashboards;
mod evaluation;
mod gateway;
mod live;
mod optimizer;
mod peers;
mod profile;
mod replay;
mod simulator;
mod soak;
mod step;
mod upgrades;
mod worlds;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::build;
use crate::setup::Setup;

/// Take one measurement.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    name: Name,
    /// Write the figures as one JSON object.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Name {
    /// Every answer its own: concurrent requests with distinct contents against the unbatched answers.
    Answers(answers::Arguments),
    /// Live traffic with a bulk job at full tilt beside it, and without.
    Beside(beside::Arguments),
    /// A bulk job, monolithic against parallel: time and cost by batch size, and what the optimizer picks.
    Bulk(bulk::Arguments),
    /// The simulator's law of service time against published measurements and own sweeps.
    Calibration(calibration::Arguments),
    /// Delay and false alarms of the change-point detectors, beside what no detector can beat.
    Changepoint {
        /// Folder with recorded traces, to run over as well.
        #[arg(long)]
        traces: Option<PathBuf>,
        /// Folder for plots of the traces.
        #[arg(long)]
        plots: Option<PathBuf>,
    },
    /// The console in a real browser, under a load that changes: data in each section, no errors, commands, accessibility.
    Console(console::Arguments),
    /// Dashboard panels without data from a real Prometheus that scrapes a loaded gateway.
    Dashboards(dashboards::Arguments),
    /// Time of one window's decision and of a renewal of the belief; memory over a million windows.
    Decision,
    /// Requests per second through the pure engine.
    Engine,
    /// What each policy costs on the same traffic in virtual time, beside what could not be beaten.
    Evaluation(evaluation::Arguments),
    /// The emulator's CPU metering and bill against published measurements.
    Fidelity {
        /// Folder with the published measurements.
        #[arg(long)]
        profiles: PathBuf,
    },
    /// Fill, cost and latency by formula against the production engine in virtual time.
    Formula,
    /// Requests per CPU-second of the gateway, alone and with nothing left out.
    Gateway(gateway::Arguments),
    /// Operating points that the tuner has to try: live sweeps, replayed, and live runs.
    Optimizer(optimizer::Arguments),
    /// What forked processes of one worker save and cost.
    Processes,
    /// Operating points of models on the local Lambda, by an experiment file: `penstock profile`.
    Profile(profile::Arguments),
    /// Simulated requests per second, and a week of traffic in virtual time.
    Simulator(simulator::Arguments),
    /// Memory and descriptors of the gateway over many requests with cancels, faults and reloads.
    Soak(soak::Arguments),
    /// A step of the load under a live gateway.
    Step(step::Arguments),
    /// Situations with bands for cost, latency and decisions, over several seeds.
    Scenarios(worlds::ScenarioArguments),
    /// Gateways replaced under load: connections refused, answers failed, requests lost.
    Upgrades(upgrades::Arguments),
    /// Random worlds with faults, judged by a reference model of what must hold.
    Worlds(worlds::Arguments),
}

/// Runs it.
///
/// # Errors
/// When something cannot be built or started, or the measurement itself fails.
pub(crate) fn run(setup: &Setup, arguments: &Arguments) -> Result<()> {
    let json = arguments.json.as_deref().map(std::path::absolute).transpose()?;
    let json = json.as_deref();
    match &arguments.name {
        Name::Answers(arguments) => answers::run(setup, arguments, json),
        Name::Beside(arguments) => beside::run(setup, arguments, json),
        Name::Bulk(arguments) => bulk::run(setup, arguments, json),
        Name::Calibration(arguments) => calibration::run(setup, arguments, json),
        Name::Changepoint { traces, plots } => {
            let mut command = bench_command(setup, "optimizer-changepoint", "changepoint");
            for (option, folder) in [("--traces", traces), ("--plots", plots)] {
                if let Some(folder) = folder {
                    command.arg(option).arg(std::path::absolute(folder)?);
                }
            }
            run_with_json(&mut command, json)
        }
        Name::Console(arguments) => console::run(setup, arguments, json),
        Name::Dashboards(arguments) => dashboards::run(setup, arguments, json),
        Name::Decision => cargo_bench(setup, "simulator", "decision", json),
        Name::Engine => cargo_bench(setup, "gateway-policy", "engine", json),
        Name::Evaluation(arguments) => evaluation::run(setup, arguments, json),
        Name::Fidelity { profiles } => {
            let binary = build::release_folder(setup.workspace())?.join("lambda-fidelity");
            run_with_json(Command::new(binary).arg("--profiles").arg(profiles), json)
        }
        Name::Formula => cargo_bench(setup, "simulator", "formula", json),
        Name::Gateway(arguments) => gateway::run(setup, arguments, json),
        Name::Optimizer(arguments) => optimizer::run(setup, arguments, json),
        Name::Processes => processes(setup, json),
        Name::Profile(arguments) => profile::run(setup, arguments, json),
        Name::Simulator(arguments) => simulator::run(setup, arguments, json),
        Name::Soak(arguments) => soak::run(setup, arguments, json),
        Name::Step(arguments) => step::run(setup, arguments, json),
        Name::Scenarios(arguments) => worlds::run_scenarios(setup, arguments, json),
        Name::Upgrades(arguments) => upgrades::run(setup, arguments, json),
        Name::Worlds(arguments) => worlds::run(setup, arguments, json),
    }
}

fn processes(setup: &Setup, json: Option<&Path>) -> Result<()> {
    setup.models(&["minilm"])?;
    let mut command = build::cargo_command(setup.workspace());
    command
        .args(["bench", "--package", "workers-runtime", "--bench", "processes", "--"])
        .current_dir(setup.workspace());
    command.env("ORT_DYLIB_PATH", setup.onnxruntime_library()?);
    command.env("PENSTOCK_TEST_MODELS", setup.cache().join("models"));
    run_with_json(&mut command, json)
}

fn cargo_bench(setup: &Setup, package: &str, bench: &str, json: Option<&Path>) -> Result<()> {
    run_with_json(&mut bench_command(setup, package, bench), json)
}

fn bench_command(setup: &Setup, package: &str, bench: &str) -> Command {
    let mut command = build::cargo_command(setup.workspace());
    command.args(["bench", "--package", package, "--bench", bench, "--"]);
    command.current_dir(setup.workspace());
    command
}

fn run_with_json(command: &mut Command, json: Option<&Path>) -> Result<()> {
    if let Some(file) = json {
        command.arg("--json").arg(file);
    }
    build::run(command)
}

/// Writes a measurement's JSON object, if asked for.
fn write_json<T: serde::Serialize>(json: Option<&Path>, value: &T) -> Result<()> {
    let Some(file) = json else { return Ok(()) };
    let text = serde_json::to_string_pretty(value)? + "\n";
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
