//! Live traffic beside a bulk job at full tilt: one gateway, one run, first without the job and then with it.
//!
//! The account has as many environments as this machine carries at [`CPU_SCALE`] of a core each, and the job may have all that live traffic leaves. Its
//! input is longer than the run; it is cancelled at the end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::live::{OpenLoad, Sent, Steps};
use super::optimizer::Tools;
use super::replay::quantile;
use crate::setup::Setup;
use crate::stack::{ModelSpec, Ports, Stack, StackSpec};
use crate::table;

/// Cores of this machine that a vCPU is: six environments of one vCPU take one and a half of two cores.
const CPU_SCALE: f64 = 0.25;
const CONCURRENCY: u32 = 6;
/// One vCPU.
const MEMORY_MIB: u32 = 1769;
const SLO_MS: f64 = 500.0;
/// Seconds after a beginning that do not count: cold starts of live traffic before the first part, of the job's before the second.
const SETTLE_S: f64 = 10.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Live requests per second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Seconds without the job, and as many with it.
    #[arg(long, default_value_t = 120.0)]
    seconds: f64,
    /// Lines of the job: more than can be done in that time.
    #[arg(long, default_value_t = 100_000)]
    lines: u32,
}

/// Runs it.
///
/// # Errors
/// When something cannot be built or started, or the job ends early.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let tools = Tools::build(setup)?;
    let texts = tools.texts(setup)?;
    let folder = setup.models(&["minilm"])?.remove(0);
    let plan = format!(
        "packing = \"deadline\"\nmax_batch_size = 16\nmax_queue_delay_ms = 100\nslo_latency_ms = {SLO_MS}\nprocess_count = 1\nmax_in_flight = {CONCURRENCY}\n\
         service_time_upper_ms = [[1, 40], [16, 250]]"
    );
    let spec = StackSpec {
        name: "beside",
        ports: Ports::free()?,
        cpu_scale: CPU_SCALE,
        account_concurrency: CONCURRENCY,
        models: vec![ModelSpec { name: "minilm".to_owned(), folder, memory_mib: MEMORY_MIB, plan }],
        emulator_extra: String::new(),
        listen_extra: String::new(),
        gateway_extra: "\n[bulk]\ndirectory = \"bulk\"\n".to_owned(),
    };
    let _ = std::fs::remove_dir_all(setup.cache().join("runs/beside/bulk"));
    let stack = Stack::start(setup, &tools.binaries, &spec)?;
    let url = format!("127.0.0.1:{}", stack.ports.public);
    let output = stack.folder.join("requests.jsonl");
    let whole = 2.0 * arguments.seconds;
    eprintln!(
        "beside: {} live requests/s, {:.0} s without a job and {:.0} s with one",
        arguments.rate, arguments.seconds, arguments.seconds
    );
    let steps = Steps { rates: vec![(arguments.rate, whole)], texts: &texts, seed: 0 };
    let live = OpenLoad::start(setup, &tools.python, &url, "minilm", &steps, &output)?;
    std::thread::sleep(Duration::from_secs_f64(arguments.seconds));
    let before = stack.metrics()?;
    let mut job = Command::new(&tools.python);
    job.arg(setup.workspace().join("xtask/clients/job.py"))
        .args(["--url", &url, "--model", "minilm", "--texts"])
        .arg(&texts);
    job.args([
        "--lines",
        &arguments.lines.to_string(),
        "--seconds",
        &(arguments.seconds - SETTLE_S).to_string(),
    ]);
    let job = job.output().context("cannot start the job's client")?;
    let after = stack.metrics()?;
    ensure!(
        job.status.success(),
        "the job's client ended with {}: {}",
        job.status,
        String::from_utf8_lossy(&job.stderr)
    );
    let job: Value = serde_json::from_slice(&job.stdout).context("what the job's client said")?;
    ensure!(
        job["status"] == "in_progress",
        "the job was `{}` before the time was over: give it more `--lines`",
        job["status"]
    );
    let (begin, sent) = live.finish()?;
    stack.stop()?;

    let part = |from_s: f64, to_s: f64| figures(&sent, begin + from_s, begin + to_s);
    let without = part(SETTLE_S, arguments.seconds);
    let with = part(arguments.seconds + SETTLE_S, whole);
    let number = |key: &str| job[key].as_f64().unwrap_or(f64::NAN);
    let usd = after.sum("penstock_job_cost_usd_total", &[]) - before.sum("penstock_job_cost_usd_total", &[]);
    let figures = json!({
        "p99_ms_without": without["p99_ms"], "p99_ms_with": with["p99_ms"],
        "late_share_without": without["late_share"], "late_share_with": with["late_share"],
        "job_lines_per_s": number("lines") / number("seconds"), "job_failed_lines": job["failed"], "job_usd": usd,
        "slo_ms": SLO_MS, "without": without, "with": with, "job": job,
    });
    let keys = ["requests", "p50_ms", "p99_ms", "late_share", "failures"];
    let cell = |value: &Value| value.as_f64().map_or_else(|| "–".to_owned(), |number| format!("{number:.4}"));
    let rows: Vec<Vec<String>> =
        keys.iter().map(|key| vec![(*key).to_owned(), cell(&without[key]), cell(&with[key])]).collect();
    println!("\n{}", table::format(&["live traffic", "without a job", "beside one"], &rows));
    println!("job: {:.1} lines/s, ${usd:.6}", number("lines") / number("seconds"));
    super::write_json(json, &figures)
}

/// Of the requests intended between two times.
fn figures(sent: &[Sent], from: f64, to: f64) -> Value {
    let those: Vec<&Sent> = sent.iter().filter(|sent| (from..to).contains(&sent.at)).collect();
    let mut ms: Vec<f64> = those.iter().map(|sent| sent.seconds * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| (!ms.is_empty()).then(|| quantile(&ms, share));
    let failures = those.iter().filter(|sent| sent.failure.is_some()).count();
    let late = those.iter().filter(|sent| sent.failure.is_some() || sent.seconds * 1e3 > SLO_MS).count();
    json!({
        "requests": those.len(), "failures": failures, "late_share": late as f64 / those.len().max(1) as f64,
        "p50_ms": at(0.5), "p99_ms": at(0.99),
    })
}
