//! A bulk job, monolithic against parallel: all reviews in virtual time, and a slice of them through `penstock bulk run` on the local Lambda.
//!
//! The slice shows that what is simulated happens: real worker, real reviews, real bill, each run on environments that are all cold. Its environments
//! bill their INIT over 500 reviews instead of 25,000, so its cost ratio is the simulator's for that size, not that of the whole. One vCPU is a
//! share of a core ([`Arguments::cpu_scale`]), so that ten environments fit on two cores; times are divided by it again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::bench_command;
use crate::build::{self, Binaries};
use crate::setup::Setup;
use crate::stack::{self, Ports};
use crate::table;

/// Memory of every function: one vCPU.
const MEMORY_MIB: u32 = 1769;
/// Environments of a parallel run.
const PARALLELISM: u32 = 10;
/// Items of an invocation: a fiftieth of what stands for them at full size.
const BATCHES: [u32; 4] = [5, 10, 25, 50];
/// The monolith's.
const MONOLITH_BATCH: u32 = 50;
/// Writes reviews as lines with `id` and `text`.
const WRITE_REVIEWS: &str = "import json, sys; from pathlib import Path; from penstock_models import reviews; \
     from penstock_models.sources import Sources; \
     rows = reviews.imdb(Sources(Path(sys.argv[1]))).held_out[: int(sys.argv[2])]; \
     Path(sys.argv[3]).write_text(''.join(json.dumps({'id': f'r{n}', 'text': row[0]}) + '\\n' for n, row in enumerate(rows)))";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Reviews on the local Lambda; 0: none, only the simulator.
    #[arg(long, default_value_t = 500)]
    slice: u32,
    /// Cores of this machine that a vCPU is.
    #[arg(long, default_value_t = 0.2)]
    cpu_scale: f64,
    /// Models of the slice.
    #[arg(long, value_delimiter = ',', default_value = "minilm,distilbert")]
    slice_models: Vec<String>,
    /// Folder for the plots; by default below the cache folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When something cannot be built or started, or a job does not answer every review.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let mut figures = simulated(setup, arguments)?;
    if arguments.slice > 0 {
        let binaries = build::binaries(setup.workspace())?;
        let mut slices = Vec::new();
        for model in &arguments.slice_models {
            let slice = Slice::prepare(setup, &binaries, arguments, model)?;
            slices.push(slice.measure(&figures["slice_simulated"][model.as_str()])?);
        }
        figures["slice"] = Value::from(slices);
    }
    super::write_json(json, &figures)
}

fn simulated(setup: &Setup, arguments: &Arguments) -> Result<Value> {
    let runs = setup.cache().join("runs");
    fs::create_dir_all(&runs)?;
    let file = runs.join("bulk-bench.json");
    let plots = match &arguments.plots {
        Some(folder) => std::path::absolute(folder)?,
        None => setup.cache().join("results/bulk"),
    };
    let mut command = bench_command(setup, "simulator", "bulk");
    command.arg("--json").arg(&file).arg("--plots").arg(&plots);
    command.args(["--slice", &arguments.slice.max(1).to_string()]);
    command.args(["--slice-parallelism", &PARALLELISM.to_string()]);
    build::run(&mut command)?;
    println!("plots in {}", plots.display());
    serde_json::from_slice(&fs::read(&file)?).context("the simulator's report")
}

/// A model, its function and the reviews.
struct Slice<'a> {
    binaries: &'a Binaries,
    model: String,
    folder: PathBuf,
    model_folder: PathBuf,
    package: PathBuf,
    reviews: PathBuf,
    count: u32,
    cpu_scale: f64,
}

/// What one job took, in Lambda's seconds.
struct Ran {
    seconds: f64,
    usd: f64,
    invocations: u64,
    environments: u64,
}

impl<'a> Slice<'a> {
    fn prepare(setup: &Setup, binaries: &'a Binaries, arguments: &Arguments, model: &str) -> Result<Self> {
        let folder = setup.cache().join("runs/bulk").join(model);
        fs::create_dir_all(&folder)?;
        let model_folder = setup.models(&[model])?.remove(0);
        let package = stack::package(setup, binaries, &folder)?;
        let reviews = folder.join("reviews.jsonl");
        let mut python = Command::new(setup.venv()?);
        python.env("PYTHONPATH", setup.workspace().join("workers/models"));
        python.args(["-c", WRITE_REVIEWS]).arg(setup.cache().join("wheels"));
        python.arg(arguments.slice.to_string()).arg(&reviews);
        build::run(&mut python)?;
        Ok(Self {
            binaries,
            model: model.to_owned(),
            folder,
            model_folder,
            package,
            reviews,
            count: arguments.slice,
            cpu_scale: arguments.cpu_scale,
        })
    }

    fn measure(&self, simulated: &Value) -> Result<Value> {
        eprintln!(
            "bulk: {} reviews through {} on the local Lambda, 1 + {} jobs",
            self.count,
            self.model,
            BATCHES.len()
        );
        let monolith = self.job(MONOLITH_BATCH, 1)?;
        let mut rows = vec![self.row(MONOLITH_BATCH, 1, &monolith, &monolith, &Value::Null)];
        for batch in BATCHES {
            let ran = self.job(batch, PARALLELISM)?;
            rows.push(self.row(batch, PARALLELISM, &ran, &monolith, &simulated[batch.to_string()]));
        }
        self.show(&rows);
        Ok(json!({ "model": self.model, "reviews": self.count, "cpu_scale": self.cpu_scale, "jobs": rows }))
    }

    fn row(&self, batch: u32, parallelism: u32, ran: &Ran, monolith: &Ran, simulated: &Value) -> Value {
        json!({
            "batch": batch,
            "parallelism": parallelism,
            "seconds": ran.seconds,
            "usd": ran.usd * self.cpu_scale,
            "invocations": ran.invocations,
            "environments": ran.environments,
            "time_cut": 1.0 - ran.seconds / monolith.seconds,
            "cost_ratio": ran.usd / monolith.usd,
            "simulated_time_cut": simulated["time_cut"],
            "simulated_cost_ratio": simulated["cost_ratio"],
        })
    }

    fn show(&self, rows: &[Value]) {
        let keys = [
            "batch",
            "parallelism",
            "environments",
            "seconds",
            "time_cut",
            "simulated_time_cut",
            "cost_ratio",
            "simulated_cost_ratio",
        ];
        let cell = |row: &Value, key: &str| {
            let number = row[key].as_f64().map(|it| format!("{it:.4}"));
            row[key].as_u64().map(|it| it.to_string()).or(number).unwrap_or_default()
        };
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| keys.iter().map(|key| cell(row, key)).collect()).collect();
        println!(
            "\n{} over {} reviews, local Lambda\n{}",
            self.model,
            self.count,
            table::format(&keys, &rows)
        );
    }

    /// One job on a Lambda that has no environment yet.
    fn job(&self, batch: u32, parallelism: u32) -> Result<Ran> {
        let folder = self.folder.join(format!("{batch}x{parallelism}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let lambda = Lambda::start(self, &folder)?;
        let config = folder.join("gateway.toml");
        fs::write(&config, self.gateway_toml(&lambda))?;
        let (output, errors) = (folder.join("answers.jsonl"), folder.join("errors.jsonl"));
        let mut command = Command::new(&self.binaries.penstock);
        command.args(["bulk", "run", "--model", &self.model, "--column", "text", "--config"]).arg(&config);
        command.arg("--input").arg(&self.reviews).arg("--output").arg(&output).arg("--errors").arg(&errors);
        command.arg("--state-dir").arg(folder.join("state"));
        command.args(["--chunk-items", &batch.to_string(), "--processes", "1"]);
        command.args(["--parallelism", &parallelism.to_string(), "--memory", &MEMORY_MIB.to_string()]);
        let began = Instant::now();
        build::run(&mut command)?;
        let seconds = began.elapsed().as_secs_f64() * self.cpu_scale;
        let answered = fs::read_to_string(&output)?.lines().count();
        ensure!(answered == self.count as usize, "{answered} of {} reviews were answered", self.count);
        let bill: Value = serde_json::from_str(&stack::get(&format!("{}/_penstock/bill", lambda.endpoint))?)?;
        let number = |key: &str| bill[key].as_f64().with_context(|| format!("the bill has no `{key}`"));
        let count = |key: &str| bill[key].as_u64().with_context(|| format!("the bill has no `{key}`"));
        Ok(Ran {
            seconds,
            usd: number("total_usd")?,
            invocations: count("invocations")?,
            environments: count("cold_starts")?,
        })
    }

    fn gateway_toml(&self, lambda: &Lambda) -> String {
        let model = &self.model;
        let mut text = format!(
            "[aws]\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\ncredentials = \"static-test\"\n\n",
            lambda.endpoint
        );
        let _ = write!(
            text,
            "[models.{model}]\nmanifest = {:?}\nfunction = \"penstock-{model}\"\n\n[models.{model}.plan]\npacking = \"fifo\"\n\
             memory_mib = {MEMORY_MIB}\nprocess_count = 1\nmax_batch_size = {MONOLITH_BATCH}\nmax_queue_delay_ms = 10\n\
             slo_latency_ms = 60000\nmax_in_flight = {PARALLELISM}\nservice_time_upper_ms = [[1, 1000]]\n",
            self.model_folder.join("model.toml")
        );
        text
    }
}

/// A local Lambda with one function. Dropping it stops it.
struct Lambda {
    child: Child,
    endpoint: String,
}

impl Lambda {
    fn start(slice: &Slice<'_>, folder: &Path) -> Result<Self> {
        let port = Ports::free()?.emulator;
        let config = folder.join("emulator.toml");
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\nstate_dir = {:?}\n\n[metering]\ncpu_scale = {:?}\n\n[limits]\naccount_concurrency = 100\n\n\
             [[function]]\nname = \"penstock-{}\"\npackage_dir = {:?}\nmemory_mib = [{MEMORY_MIB}]\ntimeout_seconds = 900\nlinks = {{ model = {:?} }}\n",
            folder.join("emulator"),
            slice.cpu_scale,
            slice.model,
            slice.package,
            slice.model_folder
        );
        fs::write(&config, text)?;
        let log = fs::File::create(folder.join("emulator.log"))?;
        let child = Command::new(&slice.binaries.penstock)
            .args(["emulate", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the local Lambda")?;
        let lambda = Self { child, endpoint: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(10);
        while stack::get(&format!("{}/_penstock/health", lambda.endpoint)).is_err() {
            ensure!(
                Instant::now() < deadline,
                "the local Lambda did not answer; its log is in {}",
                folder.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(lambda)
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        // Nothing can be reported from here, and a process that is gone is what is wanted.
        let _ = stack::end(&mut self.child, Duration::from_secs(5));
    }
}
