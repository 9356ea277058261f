//! Part two and three: a job of 20 equal, indivisible pieces over one to six worker processes at growing memory, and what
//! it costs. Published: warm time, speed-up over the architecture's first row, and dollars per million invocations.
//! The amount of CPU work of an architecture is taken from its first row (time × vCPUs of that size); all times after that
//! are measured. Two rows are printed but do not count, since CPU credit alone does not explain them: x86 at 4096 MiB
//! (an outlier of the source) and arm at 10240 MiB (faster than 20 indivisible pieces on six workers can be).

use crate::client::invoke;
use crate::table::{Row, number, read, whole};
use crate::{Failure, Options, Stage};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use workers_emulator::billing::{Architecture, PriceTable};
use workers_emulator::metering::vcpus;

/// Cores per vCPU: 5.8 vCPUs take less than one core in all, so that the quota binds and not the machine.
const CPU_SCALE: f64 = 0.125;

/// Pieces of a job.
const PIECES: u32 = 20;

/// Measures all rows of the published file.
pub(crate) fn measure(runtime: &tokio::runtime::Runtime, options: &Options) -> Result<Vec<Row>, Failure> {
    let published = read(&options.profiles, "aws_rust_multithread_lambda.csv")?;
    let mut sizes = published.iter().map(|line| whole(line, "memory_mb")).collect::<Result<Vec<_>, _>>()?;
    sizes.sort_unstable();
    sizes.dedup();
    let stage = Stage::open(runtime, options, CPU_SCALE, &sizes)?;
    let (mut rows, mut first) = (Vec::new(), BTreeMap::new());
    for line in &published {
        let name = line.get("arch").cloned().unwrap_or_default();
        let architecture = if name == "arm64" { Architecture::Arm } else { Architecture::X86 };
        let (memory_mib, warm_ms) = (whole(line, "memory_mb")?, number(line, "warm_ms_20_bcrypt")?);
        let first = first
            .entry(name.clone())
            .or_insert(First { work_ms: warm_ms * vcpus(memory_mib), measured_ms: None });
        let measured_ms = job_ms(&stage, options, memory_mib, whole(line, "workers")?, first.work_ms)?;
        let base = *first.measured_ms.get_or_insert(measured_ms);
        let counts = !matches!((name.as_str(), memory_mib), ("x86_64", 4096) | ("arm64", 10_240));
        let at = format!("{name} {memory_mib}");
        let usd = number(line, "usd_per_1m_invocations")?;
        rows.push(Row::relative("speedup", &at, number(line, "speedup")?, base / measured_ms, counts));
        let price = |ms: f64| PriceTable::default().usd_per_million(architecture, memory_mib, whole_up(ms));
        rows.push(Row::relative("usd_per_1m", &at, usd, price(measured_ms), counts));
        rows.push(Row::relative("price_table", &at, usd, price(warm_ms), true));
    }
    stage.close(runtime);
    Ok(rows)
}

/// An architecture's first row.
struct First {
    /// CPU work of a job, ms of one vCPU.
    work_ms: f64,
    measured_ms: Option<f64>,
}

/// Time of one warm job, rescaled, ms: the mean over some jobs in one invocation, judged by what was billed.
fn job_ms(
    stage: &Stage,
    options: &Options,
    memory_mib: u32,
    workers: u32,
    work_ms: f64,
) -> Result<f64, Failure> {
    let seconds_each = work_ms / vcpus(memory_mib).min(f64::from(workers)) / 1000.0 / CPU_SCALE;
    let jobs = whole_up(options.effort * 20.0 / seconds_each).max(1);
    let spin = |jobs: u64, work: f64| json!({ "command": "spin", "cpu_ms": work, "pieces": PIECES, "workers": workers, "iterations": jobs });
    // Starts the workers and uses up what idle groups have saved.
    invoke(stage.address, memory_mib, &spin(1, 20.0))?;
    let invoked = invoke(stage.address, memory_mib, &spin(jobs, work_ms))?;
    let walls: f64 =
        invoked.reply["wall_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64).sum();
    let overhead = invoked.billed_ms - walls;
    if overhead < -1.0 {
        return Err(format!("billed {} ms for {walls} ms of work", invoked.billed_ms).into());
    }
    Ok(invoked.billed_ms / jobs as f64 * CPU_SCALE)
}

/// The next whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and small")]
pub(crate) fn whole_up(value: f64) -> u64 {
    value.ceil() as u64
}
