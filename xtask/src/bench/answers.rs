//! Every answer its own: tritonclient sends concurrent requests with distinct contents over two models and compares each answer
//! with the unbatched one of the same fp32 model.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::setup::Setup;
use crate::stack::{ModelSpec, Ports, Stack, StackSpec};
use crate::{build, table};

const MODELS: [&str; 2] = ["imdb-sentiment", "minilm"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Requests, half of them to each model.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) requests: u32,
    /// Requests in flight at once.
    #[arg(long, default_value_t = 512)]
    pub(crate) concurrency: u32,
}

/// Runs it; fails if an answer is missing, failed or another's.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let python = setup.venv()?;
    let folders = setup.models(&MODELS)?;
    let binaries = build::binaries(setup.workspace())?;
    let plan = "packing = \"deadline\"\nmax_batch_size = 32\nmax_queue_delay_ms = 20\nslo_latency_ms = 1000\nprocess_count = 2\n\
                max_in_flight = 2\nservice_time_upper_ms = [[1, 50], [32, 400]]";
    let model = |(name, folder): (&&str, &std::path::PathBuf)| ModelSpec {
        name: (*name).to_owned(),
        folder: folder.clone(),
        memory_mib: 3538, // two vCPUs for two processes
        plan: plan.to_owned(),
    };
    let spec = StackSpec {
        name: "answers",
        ports: Ports::free()?,
        cpu_scale: 0.5,
        account_concurrency: 100,
        models: MODELS.iter().zip(&folders).map(model).collect(),
        emulator_extra: String::new(),
        listen_extra: String::new(),
        gateway_extra: String::new(),
    };
    let stack = Stack::start(setup, &binaries, &spec)?;
    let mut command = Command::new(python);
    command.arg(setup.workspace().join("xtask/clients/answers.py"));
    command.args(["--url", &format!("127.0.0.1:{}", stack.ports.public)]);
    for (name, folder) in MODELS.iter().zip(&folders) {
        command.args(["--model", &format!("{name}={}", folder.display())]);
    }
    command.args([
        "--requests",
        &arguments.requests.to_string(),
        "--concurrency",
        &arguments.concurrency.to_string(),
    ]);
    eprintln!("answers: {} requests, {} in flight", arguments.requests, arguments.concurrency);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start the client")?;
    let mut report: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("the client's report")?;
    let metrics = stack.metrics()?;
    let fill = |model| {
        metrics.sum("penstock_batch_items_sum", &[("model", model)])
            / metrics.sum("penstock_batch_items_count", &[("model", model)])
    };
    let mut rows = Vec::new();
    for model in MODELS {
        report["mean_fill"][model] = fill(model).into();
        rows.push(vec![
            model.to_owned(),
            format!("{:.2}", fill(model)),
            format!("{:e}", report["max_difference"][model].as_f64().unwrap_or(f64::NAN)),
        ]);
    }
    println!("{}", table::format(&["model", "mean fill", "largest difference"], &rows));
    println!("{} requests, {} failed, {} wrong", report["requests"], report["failed"], report["wrong"]);
    super::write_json(json, &report)?;
    stack.stop()?;
    ensure!(output.status.success(), "answers are wrong or missing: {}", report["first_failure"]);
    Ok(())
}
