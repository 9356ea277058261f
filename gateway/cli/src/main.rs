//! `penstock`: the command that people run. Thin: each subcommand is a file that parses its arguments and calls a library.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command answers on standard output")]

mod bulk;
mod commands;
mod profile;
mod simulate;
mod stop;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Requests allocate and free on different threads; measured beside the system's allocator in `docs/decisions/0002-toolchain-and-crates.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An adaptive serving gateway for model inference on AWS Lambda.
#[derive(Debug, Parser)]
#[command(name = "penstock", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(commands::serve::Arguments),
    /// Run the local Lambda.
    Emulate(commands::emulate::Arguments),
    /// Make the memory aliases that a configuration needs; never done while serving.
    Provision(commands::provision::Arguments),
    /// Measure operating points of a deployed function: which memory, batch and processes are cheapest, fastest, or best.
    Profile(profile::Arguments),
    /// Simulate traffic: what would it cost, and what could it cost? Exit code 78 if a file cannot be used.
    Simulate(simulate::Arguments),
    /// Bulk jobs: a data set through a model, fanned out over parallel invocations.
    Bulk(bulk::Arguments),
    /// Look at everything that a gateway needs, here and at AWS, and say what to do; exit code 1 if there is a problem.
    Doctor(commands::doctor::Arguments),
    /// Check a configuration; exit code 78 if it is not valid.
    CheckConfig(commands::check_config::Arguments),
    /// Show the configuration in force, with the origin of each value.
    PrintConfig(commands::print_config::Arguments),
    /// Write a page of the reference: configuration, its JSON schema, metrics, or commands.
    Reference(commands::reference::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => commands::serve::run(arguments),
        Command::Emulate(arguments) => commands::emulate::run(arguments),
        Command::Provision(arguments) => commands::provision::run(arguments),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Bulk(arguments) => bulk::run(arguments),
        Command::Doctor(arguments) => commands::doctor::run(arguments),
        Command::CheckConfig(arguments) => commands::check_config::run(arguments),
        Command::PrintConfig(arguments) => commands::print_config::run(arguments),
        Command::Reference(arguments) => commands::reference::run(&arguments, Cli::command()),
    }
}
