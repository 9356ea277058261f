//! Part one: short steps of CPU work under a quota. Published: the share of time that a busy loop was held back,
//! 1 − CPU time / wall time, at five memory sizes. Here the same steps run in a sandbox of that size, and wall time is
//! rescaled. The median of a step's wall time is printed too, but does not count: a rescaled sandbox runs its CPU time at
//! the speed of a whole core between the throttled stretches, a real one at the speed of a vCPU.

use crate::client::invoke;
use crate::scaling::whole_up;
use crate::table::{Row, number, read, whole};
use crate::{Failure, Options, Stage};
use serde_json::{Value, json};

/// Cores per vCPU: all sizes here are at most one vCPU.
const CPU_SCALE: f64 = 0.25;

/// Measures all rows of the published file.
pub(crate) fn measure(runtime: &tokio::runtime::Runtime, options: &Options) -> Result<Vec<Row>, Failure> {
    let published = read(&options.profiles, "lambda_cpu_throttle_2025-03-01.csv")?;
    let sizes = published.iter().map(|line| whole(line, "memory_mb")).collect::<Result<Vec<_>, _>>()?;
    let stage = Stage::open(runtime, options, CPU_SCALE, &sizes)?;
    let mut rows = Vec::new();
    for (line, memory_mib) in published.iter().zip(&sizes) {
        let steps = number(line, "iterations")?;
        let step_ms = number(line, "cpu_ms_used_in_test")? / steps;
        let event =
            json!({ "command": "spin", "cpu_ms": step_ms, "iterations": whole_up(steps * options.effort) });
        // The first invocation is cold and takes what an idle group has saved up.
        invoke(stage.address, *memory_mib, &json!({ "command": "spin", "cpu_ms": 25 }))?;
        let reply = invoke(stage.address, *memory_mib, &event)?.reply;
        let mut walls: Vec<f64> =
            reply["wall_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let used = reply["cpu_ms"].as_f64().ok_or("the probe gave no CPU time")?;
        let share = 1.0 - used / (walls.iter().sum::<f64>() * CPU_SCALE);
        walls.sort_by(f64::total_cmp);
        let median = walls.get(walls.len() / 2).copied().unwrap_or(0.0) * CPU_SCALE;
        let at = format!("{memory_mib} MiB");
        rows.push(Row::absolute(
            "throttled_share",
            &at,
            number(line, "measured_throttle_ratio")?,
            share,
            true,
        ));
        let wall = number(line, "median_wall_ms_of_throttled_iteration")?;
        rows.push(Row::relative("median_wall_ms", &at, wall, median, false));
    }
    stage.close(runtime);
    Ok(rows)
}
