//! The main job on one machine: gateway, local Lambda and a real model answer real requests, beside the same model unbatched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::setup::Setup;
use crate::stack::{ModelSpec, Ports, Stack, StackSpec};
use crate::{build, table};

const MODEL: &str = "imdb-sentiment";

/// Memory sizes at which the unbatched baseline is tried; the cheapest is the one compared with.
const UNBATCHED_MEMORY_MIB: [u32; 3] = [256, 512, 1024];

/// Requests of the demo per request of each baseline size: the baseline's mean cost needs fewer.
const BASELINE_SHARE: u32 = 4;

/// Requests of a measurement per request of its warm-up. Costs are compared warm: at this scale cold starts would be most of the bill.
const WARM_UP_SHARE: u32 = 4;

/// Cores that one Lambda vCPU is here, so that several fit on a laptop. Times and bills stay wall time.
const CPU_SCALE: f64 = 0.25;

/// Run the main job and show its figures.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// End after the table instead of serving on.
    #[arg(long)]
    pub(crate) once: bool,
    /// Write the figures as one JSON object.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Requests to send.
    #[arg(long, default_value_t = 3000)]
    pub(crate) requests: u32,
    /// Mean requests per second.
    #[arg(long, default_value_t = 200.0)]
    pub(crate) rate: f64,
    /// Listen on free ports instead of 8080, 8081 and 9001.
    #[arg(long)]
    pub(crate) free_ports: bool,
}

/// What the client says.
#[derive(Debug, Deserialize)]
struct ClientReport {
    answered: u32,
    failed: u32,
    first_failure: Option<String>,
    seconds: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    accuracy: f64,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Figures {
    serving: String,
    memory_mib: u32,
    requests: u32,
    batches: f64,
    mean_fill: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    usd_per_million_requests: f64,
    accuracy: f64,
    requests_per_second: f64,
}

/// Everything the demo found.
#[derive(Debug, Serialize)]
struct Report {
    batched: Figures,
    unbatched: Vec<Figures>,
    /// One minus the batched cost over that of the cheapest unbatched memory size.
    saving: f64,
    cpu_scale: f64,
}

/// Runs it.
///
/// # Errors
/// When something cannot be built or started, or a request fails.
pub(crate) fn run(setup: &Setup, arguments: &Arguments) -> Result<()> {
    let python = setup.venv()?;
    let folder = setup.models(&[MODEL])?.remove(0);
    let binaries = build::binaries(setup.workspace())?;
    let ports = if arguments.free_ports { Ports::free()? } else { Ports::DEFAULT };
    let spec = StackSpec {
        name: "demo",
        ports,
        cpu_scale: CPU_SCALE,
        account_concurrency: 100,
        models: models(&folder),
        emulator_extra: String::new(),
        listen_extra: String::new(),
        gateway_extra: String::new(),
    };
    eprintln!(
        "demo: starting gateway on 127.0.0.1:{} and local Lambda on 127.0.0.1:{}",
        ports.public, ports.emulator
    );
    let mut stack = Stack::start(setup, &binaries, &spec)?;

    let client = Client {
        python: &python,
        script: setup.workspace().join("xtask/clients/open_loop.py"),
        folder: &folder,
    };
    let mut unbatched = Vec::new();
    for memory_mib in UNBATCHED_MEMORY_MIB {
        eprintln!("demo: {} requests unbatched at {memory_mib} MiB", arguments.requests / BASELINE_SHARE);
        let name = unbatched_name(memory_mib);
        unbatched.push(client.measure(
            &stack,
            &name,
            memory_mib,
            arguments.requests / BASELINE_SHARE,
            arguments.rate,
        )?);
    }
    eprintln!("demo: {} requests batched", arguments.requests);
    let batched = client.measure(&stack, MODEL, 1769, arguments.requests, arguments.rate)?;

    let best = unbatched.iter().map(|figures| figures.usd_per_million_requests).fold(f64::INFINITY, f64::min);
    let report = Report {
        saving: 1.0 - batched.usd_per_million_requests / best,
        batched,
        unbatched,
        cpu_scale: CPU_SCALE,
    };
    show(&report);
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if arguments.once {
        return stack.stop();
    }
    println!("\nServing on. Ask it yourself (Ctrl-C ends):\n\n{}\n", curl(ports));
    println!(
        "Metrics: http://127.0.0.1:{}/metrics   logs and configuration: {}",
        ports.admin,
        stack.folder.display()
    );
    stack.wait()
}

fn unbatched_name(memory_mib: u32) -> String {
    format!("{MODEL}-unbatched-{memory_mib}")
}

fn models(folder: &Path) -> Vec<ModelSpec> {
    let batched = "packing = \"deadline\"\nmax_batch_size = 32\nmax_queue_delay_ms = 100\nslo_latency_ms = 250\nprocess_count = 1\n\
                   max_in_flight = 16\nservice_time_upper_ms = [[1, 20], [32, 60]]";
    let unbatched = "packing = \"none\"\nprocess_count = 1\nmax_in_flight = 64\nslo_latency_ms = 250";
    let spec = |name: String, memory_mib, plan: &str| ModelSpec {
        name,
        folder: folder.to_path_buf(),
        memory_mib,
        plan: plan.to_owned(),
    };
    let mut models = vec![spec(MODEL.to_owned(), 1769, batched)];
    models.extend(
        UNBATCHED_MEMORY_MIB.map(|memory_mib| spec(unbatched_name(memory_mib), memory_mib, unbatched)),
    );
    models
}

/// The real client, run as a process of its own.
struct Client<'a> {
    python: &'a Path,
    script: PathBuf,
    folder: &'a Path,
}

impl Client<'_> {
    fn measure(
        &self,
        stack: &Stack,
        model: &str,
        memory_mib: u32,
        requests: u32,
        rate: f64,
    ) -> Result<Figures> {
        self.send(stack, model, requests.div_ceil(WARM_UP_SHARE), rate)?;
        let before = stack.metrics()?;
        let client = self.send(stack, model, requests, rate)?;
        let after = stack.metrics()?;
        let grown = |name: &str| after.sum(name, &[("model", model)]) - before.sum(name, &[("model", model)]);
        let (items, batches) = (grown("penstock_batch_items_sum"), grown("penstock_batch_items_count"));
        Ok(Figures {
            serving: model.to_owned(),
            memory_mib,
            requests: client.answered,
            batches,
            mean_fill: items / batches,
            p50_ms: client.p50_ms,
            p95_ms: client.p95_ms,
            p99_ms: client.p99_ms,
            usd_per_million_requests: grown("penstock_cost_usd_total") / f64::from(client.answered) * 1e6,
            accuracy: client.accuracy,
            requests_per_second: f64::from(client.answered) / client.seconds,
        })
    }

    fn send(&self, stack: &Stack, model: &str, requests: u32, rate: f64) -> Result<ClientReport> {
        let mut command = Command::new(self.python);
        command.arg(&self.script).args([
            "--url",
            &format!("127.0.0.1:{}", stack.ports.public),
            "--model",
            model,
        ]);
        command.arg("--eval").arg(self.folder.join("eval.jsonl"));
        command.args(["--requests", &requests.to_string(), "--rate", &rate.to_string()]);
        let output = command.stderr(Stdio::inherit()).output().context("cannot start the client")?;
        ensure!(output.status.success(), "the client ended with {}", output.status);
        let client: ClientReport = serde_json::from_slice(&output.stdout).context("the client's report")?;
        ensure!(
            client.failed == 0,
            "{} requests failed, the first: {}",
            client.failed,
            client.first_failure.as_deref().unwrap_or_default()
        );
        Ok(client)
    }
}

fn show(report: &Report) {
    let headings = [
        "serving",
        "memory MiB",
        "requests",
        "batches",
        "mean fill",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "USD/million",
        "accuracy",
    ];
    let row = |figures: &Figures| {
        vec![
            figures.serving.clone(),
            figures.memory_mib.to_string(),
            figures.requests.to_string(),
            format!("{:.0}", figures.batches),
            format!("{:.2}", figures.mean_fill),
            format!("{:.1}", figures.p50_ms),
            format!("{:.1}", figures.p95_ms),
            format!("{:.1}", figures.p99_ms),
            format!("{:.3}", figures.usd_per_million_requests),
            format!("{:.3}", figures.accuracy),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(&report.batched).chain(&report.unbatched).map(row).collect();
    println!("\n{}", table::format(&headings, &rows));
    println!(
        "Batched costs {:.0} % less than unbatched at its cheapest memory. Lambda's bill by list prices, as the local Lambda meters it, warm \
         (one vCPU = {} of a core here); the gateway's host is not in it.",
        report.saving * 100.0,
        report.cpu_scale
    );
}

fn curl(ports: Ports) -> String {
    format!(
        "curl -s http://127.0.0.1:{}/v2/models/{MODEL}/infer -d '{{\"inputs\": [{{\"name\": \"text\", \"datatype\": \"BYTES\", \"shape\": [1, 1], \
         \"data\": [\"What a wonderful film.\"]}}]}}'",
        ports.public
    )
}
