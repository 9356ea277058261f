//! Every check and every test, in the order of what they cost.

use std::process::Command;

use anyhow::Result;

use crate::setup::Setup;
use crate::{bench, build, check, demo, end_to_end, guides};

/// Models that tests load.
const TEST_MODELS: [&str; 6] =
    ["imdb-sentiment", "minilm", "bert-tiny", "identity", "identity-onnx", "llama-tiny"];

/// Run every check and every test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out the end-to-end runs, which need the release build.
    #[arg(long)]
    quick: bool,
}

/// Runs them.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run(setup: &Setup, arguments: &Arguments) -> Result<()> {
    step("house rules");
    check::run(setup.workspace())?;

    step("what the tests need from outside Rust");
    let python = setup.venv()?;
    let library = setup.onnxruntime_library()?;
    setup.models(&TEST_MODELS)?;

    step("Rust tests");
    let mut tests = build::cargo_command(setup.workspace());
    tests.args(["test", "--workspace", "--locked"]).current_dir(setup.workspace());
    tests.env("ORT_DYLIB_PATH", &library).env("PENSTOCK_TEST_MODELS", setup.cache().join("models"));
    if let Some(postgres) = setup.postgres() {
        tests.env("PENSTOCK_POSTGRES_BIN", postgres);
    }
    build::run(&mut tests)?;

    step("model builder tests");
    let mut models = Command::new(&python);
    models.args(["-m", "unittest", "discover", "--top-level-directory", ".", "--start-directory", "tests"]);
    models.current_dir(setup.workspace().join("workers/models"));
    build::run(&mut models)?;

    step("dashboards");
    bench::dashboards::check(setup)?;

    if arguments.quick {
        return Ok(());
    }
    step("end to end");
    end_to_end::run(setup, &python)?;
    guides::run(setup)?;
    let quick_answers = bench::answers::Arguments { requests: 2_000, concurrency: 512 };
    bench::answers::run(setup, &quick_answers, None)?;
    let quick_demo = demo::Arguments { once: true, json: None, requests: 400, rate: 100.0, free_ports: true };
    demo::run(setup, &quick_demo)
}

fn step(name: &str) {
    eprintln!("\n== {name}");
}
