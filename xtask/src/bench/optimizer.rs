//! How many operating points the tuner has to try: an exhaustive live sweep of each model on the local Lambda, its measured invocations
//! replayed by the simulator for many seeds, and live runs that confirm.
//!
//! A sweep is kept below the cache folder, since it takes minutes. One Lambda vCPU is one core here, so the ladder ends where this machine
//! does: 3,538 MiB are two cores. Larger sizes would be granted cores that do not exist, and are left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::live::{Function, LocalLambda, Run, Steps, plan_label};
use super::replay::Sweep;
use crate::build::{self, Binaries};
use crate::setup::Setup;
use crate::table;

/// Tokens of every text.
const TOKENS: &str = "16";
/// Texts that the live load repeats.
const TEXTS: &str = "500";
/// Seconds at the end of a live run that count as settled.
const SETTLED_S: f64 = 180.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Few invocations a point and few seeds, to see it work.
    #[arg(long)]
    quick: bool,
    /// Sweep again, although a sweep is there.
    #[arg(long)]
    fresh: bool,
    /// Only these models.
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    only: Vec<String>,
    /// Only the sweeps, without the replay.
    #[arg(long)]
    sweeps_only: bool,
    /// Also serve live under the grey-box policy.
    #[arg(long)]
    live: bool,
    /// Only serve live, without the replay.
    #[arg(long)]
    live_only: bool,
    /// Models of the live runs.
    #[arg(long, value_delimiter = ',', default_value = "minilm,distilbert")]
    live_models: Vec<String>,
    /// Seconds of each live run.
    #[arg(long, default_value_t = 360.0)]
    live_seconds: f64,
    /// Seeds of the replay.
    #[arg(long, default_value_t = 20)]
    seeds: u32,
}

/// A model, its ladder and its load.
pub(super) struct Subject {
    pub(super) model: &'static str,
    memory_mib: &'static [u32],
    batches: &'static [u32],
    /// Warm invocations a point at most.
    invocations: u32,
    /// Before each of them, milliseconds: about what lies between two batches in production. An environment that was idle for longer begins its work at another
    /// place of the quota's periods and with colder caches, and takes up to a quarter longer below one vCPU.
    pause_ms: u32,
    /// Requests per second of the live run, the same as in the replay.
    rate: f64,
    /// Latency objective, ms.
    pub(super) slo_ms: u32,
    /// What serves before anything is known, MiB.
    start_mib: u32,
}

/// Process counts of every sweep: two cores run two at most.
const PROCESSES: &str = "1,2";
const SUBJECTS: [Subject; 3] = [
    Subject {
        model: "minilm",
        memory_mib: &[256, 512, 1024, 1769, 2048, 3008, 3538],
        batches: &[1, 2, 4, 8, 16, 32],
        invocations: 20,
        pause_ms: 150,
        rate: 20.0,
        slo_ms: 200,
        start_mib: 1769,
    },
    Subject {
        model: "imdb-sentiment",
        memory_mib: &[256, 512, 1024, 1769, 2048, 3008, 3538],
        batches: &[1, 2, 4, 8, 16, 32, 64, 128],
        invocations: 40,
        pause_ms: 90,
        rate: 50.0,
        slo_ms: 100,
        start_mib: 1769,
    },
    Subject {
        model: "distilbert",
        memory_mib: &[3072, 3538],
        batches: &[1, 2, 4, 8, 16],
        invocations: 40,
        pause_ms: 800,
        rate: 5.0,
        slo_ms: 1000,
        start_mib: 3072,
    },
];

/// Everything that is built before a measurement.
pub(super) struct Tools {
    pub(super) binaries: Binaries,
    profiler: PathBuf,
    pub(super) python: PathBuf,
}

impl Tools {
    pub(super) fn build(setup: &Setup) -> Result<Self> {
        let binaries = build::binaries(setup.workspace())?;
        let profiler = binaries.penstock.with_file_name("lambda-profile");
        Ok(Self { binaries, profiler, python: setup.venv()? })
    }

    /// The texts that the live load sends: of the same lengths as a sweep's, by another seed.
    pub(super) fn texts(&self, setup: &Setup) -> Result<PathBuf> {
        let path = setup.cache().join("sweeps/texts.jsonl");
        fs::create_dir_all(setup.cache().join("sweeps"))?;
        let mut command = Command::new(&self.profiler);
        command.args(["--write-texts", TEXTS, "--tokens", TOKENS, "--seed", "2", "--output"]).arg(&path);
        build::run(&mut command)?;
        Ok(path)
    }
}

/// Runs it.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let tools = Tools::build(setup)?;
    let is_wanted = |subject: &&Subject| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == subject.model)
    };
    let mut sweeps = Vec::new();
    for subject in SUBJECTS.iter().filter(is_wanted) {
        sweeps.push((subject, subject.sweep(setup, &tools, arguments.quick, arguments.fresh)?));
    }
    if arguments.sweeps_only {
        return Ok(());
    }
    let seeds = if arguments.quick { 3 } else { arguments.seeds };
    let mut figures = if arguments.live_only { json!({}) } else { replay(setup, &sweeps, seeds)? };
    if arguments.live || arguments.live_only {
        let mut live = Vec::new();
        for (subject, sweep) in sweeps
            .iter()
            .filter(|(subject, _)| arguments.live_models.iter().any(|name| name == subject.model))
        {
            live.push(subject.live(setup, &tools, sweep, arguments.live_seconds)?);
        }
        figures["live"] = Value::from(live);
    }
    super::write_json(json, &figures)
}

fn replay(setup: &Setup, sweeps: &[(&Subject, PathBuf)], seeds: u32) -> Result<Value> {
    let file = setup.cache().join("runs/optimizer-bench.json");
    fs::create_dir_all(setup.cache().join("runs"))?;
    let mut command = build::cargo_command(setup.workspace());
    command.args(["bench", "--package", "simulator", "--bench", "optimizer", "--"]);
    for (subject, path) in sweeps {
        command.args(["--sweep", &format!("{}={}", subject.model, path.display())]);
    }
    command.args(["--seeds", &seeds.to_string(), "--json"]).arg(&file);
    build::run(&mut command)?;
    serde_json::from_slice(&fs::read(&file)?).context("the replay's report")
}

impl Subject {
    /// The subject of this name.
    pub(super) fn named(model: &str) -> Result<&'static Self> {
        SUBJECTS.iter().find(|subject| subject.model == model).context("no such subject")
    }

    /// The function with its ladder; builds the model if needed.
    pub(super) fn function(&self, setup: &Setup) -> Result<Function> {
        let folder = setup.models(&[self.model])?.remove(0);
        Ok(Function { model: self.model.to_owned(), folder, memory_mib: self.memory_mib.to_vec() })
    }

    /// Lines of `[models.NAME.plan]`: what a person would begin with, knowing nothing.
    pub(super) fn plan(&self) -> String {
        format!(
            "packing = \"deadline\"\nmemory_mib = {}\nprocess_count = 1\nmax_batch_size = {}\nmax_queue_delay_ms = 20\nslo_latency_ms = {}\n\
             deadline_margin_ms = 5\nmax_in_flight = 100\nservice_time_upper_ms = [[1, 50]]",
            self.start_mib,
            self.batches.last().copied().unwrap_or(1).min(32),
            self.slo_ms
        )
    }

    /// Lines of `[models.NAME.policy]`.
    pub(super) fn policy(&self, detector: &str) -> String {
        format!(
            "kind = \"grey_box\"\ndetector = \"{detector}\"\nmemory_mib = {:?}\nmax_process_count = 2\nmax_batch_size = {}\nwindow_ms = 1000",
            self.memory_mib,
            self.batches.last().copied().unwrap_or(1)
        )
    }

    /// The objective in seconds.
    pub(super) fn slo_s(&self) -> f64 {
        f64::from(self.slo_ms) / 1e3
    }

    /// The sweep's file, swept now if it is not there.
    pub(super) fn sweep(
        &self,
        setup: &Setup,
        tools: &Tools,
        is_quick: bool,
        is_fresh: bool,
    ) -> Result<PathBuf> {
        let folder = setup.cache().join("sweeps");
        let suffix = if is_quick { "-quick" } else { "" };
        let path = folder.join(format!("{}{suffix}.jsonl", self.model));
        if path.exists() && !is_fresh {
            eprintln!("sweep: using {}; `--fresh` sweeps again", path.display());
            return Ok(path);
        }
        fs::create_dir_all(&folder)?;
        let function = self.function(setup)?;
        let lambda = LocalLambda::start(setup, &tools.binaries, "sweep", std::slice::from_ref(&function))?;
        let list = |values: &[u32]| values.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let invocations = if is_quick { 5 } else { self.invocations };
        let unfinished = path.with_extension("unfinished");
        eprintln!("sweep: {} at {:?} MiB", self.model, self.memory_mib);
        let mut command = Command::new(&tools.profiler);
        command.args([
            "--function",
            &format!("penstock-{}", self.model),
            "--endpoint-url",
            &lambda.endpoint(),
        ]);
        command.arg("--test-credentials").arg("--manifest").arg(function.folder.join("model.toml"));
        command.args([
            "--memory",
            &list(self.memory_mib),
            "--processes",
            PROCESSES,
            "--batches",
            &list(self.batches),
        ]);
        command
            .args(["--invocations", &invocations.to_string(), "--tokens", TOKENS])
            .args(["--pause-ms", &self.pause_ms.to_string(), "--output"])
            .arg(&unfinished);
        build::run(&mut command)?;
        fs::rename(&unfinished, &path)?;
        Ok(path)
    }

    fn live(&self, setup: &Setup, tools: &Tools, sweep: &Path, seconds: f64) -> Result<Value> {
        let function = self.function(setup)?;
        let texts = tools.texts(setup)?;
        let lambda =
            LocalLambda::start(setup, &tools.binaries, "optimizer", std::slice::from_ref(&function))?;
        let gateway = lambda.gateway(&tools.binaries, &function, &self.plan(), &self.policy("bocpd"))?;
        eprintln!("optimizer: {} live, {} requests/s for {seconds:.0} s", self.model, self.rate);
        let steps = Steps { rates: vec![(self.rate, seconds)], texts: &texts, seed: 1 };
        let run = gateway.run(setup, &tools.python, &steps)?;
        drop(gateway);
        let best = Sweep::read(sweep)?.best(self.rate, self.slo_s())?;
        let settled = run.usd_per_million((seconds - SETTLED_S).max(0.0), seconds);
        let report = run.samples.last().map(|sample| sample.control["report"].clone()).unwrap_or_default();
        let (failures, first_failure) = run.failures();
        let figures = json!({
            "model": self.model,
            "requests": run.sent.len(),
            "failures": failures,
            "first_failure": first_failure,
            "usd_per_million_settled": settled,
            "best_usd_per_million": best.1.usd_per_million,
            "best_plan": best.0.label(),
            "cost_over_best": settled / best.1.usd_per_million,
            "late_share": run.late_share(0.0, seconds, self.slo_s()),
            "late_share_settled": run.late_share((seconds - SETTLED_S).max(0.0), seconds, self.slo_s()),
            "late_share_at_gateway": run.late_share_at_gateway(seconds),
            "late_share_at_gateway_settled": run.late_share_at_gateway(SETTLED_S.min(seconds)),
            "trials": report["trials"],
            "switches": report["switches"],
            "rollbacks": report["rollbacks"],
            "exploration_usd": report["exploration_usd"],
            "plans": plans(&run),
        });
        show(&figures);
        Ok(figures)
    }
}

/// Plans in force over time.
pub(super) fn plans(run: &Run) -> Vec<Value> {
    run.plans().iter().map(|(at_s, plan)| json!({ "at_s": at_s.round(), "plan": plan_label(plan) })).collect()
}

fn show(figures: &Value) {
    let keys = [
        "usd_per_million_settled",
        "best_usd_per_million",
        "cost_over_best",
        "late_share",
        "late_share_settled",
        "late_share_at_gateway",
        "late_share_at_gateway_settled",
        "trials",
        "switches",
        "rollbacks",
        "failures",
    ];
    let number = |key: &str| format!("{:.4}", figures[key].as_f64().unwrap_or(f64::NAN));
    let rows: Vec<Vec<String>> = keys.iter().map(|key| vec![(*key).to_owned(), number(key)]).collect();
    println!("\n{}", table::format(&[figures["model"].as_str().unwrap_or_default(), "live"], &rows));
    println!("best fixed plan of the sweep: {}", figures["best_plan"].as_str().unwrap_or_default());
    for plan in figures["plans"].as_array().into_iter().flatten() {
        println!("{:>5} s  {}", plan["at_s"], plan["plan"].as_str().unwrap_or_default());
    }
}
