//! House rules as checks, the demo, the tests and the measurements: `cargo xtask <command>`.
//!
//! Deliberately absent: anything that a deployed Penstock needs.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool: its tables are its output")]

mod arrows;
mod bench;
mod build;
mod check;
mod demo;
mod end_to_end;
mod guides;
mod load;
mod measure;
mod setup;
mod specification;
mod stack;
mod table;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Demo, tests, checks and measurements of Penstock.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the main job: gateway, local Lambda, a real model, real requests; then keep serving.
    Demo(demo::Arguments),
    /// Run every check and every test.
    Test(test::Arguments),
    /// Run the house rules only: format, lints, crate arrows.
    Check,
    /// Take one measurement.
    Bench(bench::Arguments),
    /// Run the commands of the guides in `docs/guides`, as a reader would.
    Guides,
    /// Fetch what the other commands need from outside Rust, and nothing else.
    Setup,
    /// Build models, all of them if none is named.
    Models {
        /// Names of models.
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let setup = setup::Setup::locate()?;
    match command {
        Command::Demo(arguments) => demo::run(&setup, &arguments),
        Command::Test(arguments) => test::run(&setup, &arguments),
        Command::Check => check::run(setup.workspace()),
        Command::Bench(arguments) => bench::run(&setup, &arguments),
        Command::Guides => guides::run(&setup),
        Command::Setup => {
            setup.venv()?;
            println!("{}", setup.onnxruntime_library()?.display());
            Ok(())
        }
        Command::Models { names } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let folders: Vec<PathBuf> = setup.models(&names)?;
            for folder in folders {
                println!("{}", folder.display());
            }
            Ok(())
        }
    }
}
