//! CSV. Lists (one value a process) stand in one cell, separated by spaces; what is unknown is empty.

use std::path::Path;

use crate::invocation::{Invocation, Run};

/// Columns, in the order of both files.
pub(super) const COLUMNS: [&str; 31] = [
    "run",
    "started_ms",
    "model",
    "version",
    "memory_mib",
    "process_count",
    "items",
    "concurrency",
    "kind",
    "cold",
    "simulated",
    "init_ms",
    "duration_ms",
    "billed_ms",
    "handler_ms",
    "round_trip_ms",
    "tokenize_ms",
    "prefill_ms",
    "generated_tokens",
    "process_compute_ms",
    "process_cpu_ms",
    "process_items",
    "shard_padded_units",
    "max_memory_used_mib",
    "cost_usd",
    "cost_per_item_usd",
    "run_total_ms",
    "run_instances_started",
    "run_cost_usd",
    "error",
    "place",
];

pub(super) fn write<'a>(path: &Path, runs: impl Iterator<Item = &'a Run>) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_path(path)?;
    writer.write_record(COLUMNS)?;
    for run in runs {
        for (place, invocation) in run.invocations.iter().enumerate() {
            writer.write_record(row(run, invocation, place))?;
        }
    }
    writer.flush()?;
    Ok(())
}

fn row(run: &Run, invocation: &Invocation, place: usize) -> [String; COLUMNS.len()] {
    let ms = |us: u64| (us as f64 / 1e3).to_string();
    let list = |all: &[u64]| all.iter().map(|&us| ms(us)).collect::<Vec<_>>().join(" ");
    let items: Vec<String> = invocation.process_items.iter().map(u32::to_string).collect();
    let point = &run.point;
    [
        run.id.to_string(),
        run.started_ms.to_string(),
        run.model.clone(),
        invocation.version.clone(),
        point.memory_mib.to_string(),
        point.process_count.to_string(),
        point.items.to_string(),
        point.concurrency.to_string(),
        run.kind.name().to_owned(),
        invocation.cold.to_string(),
        run.simulated.to_string(),
        invocation.init_us.map_or(String::new(), ms),
        ms(invocation.duration_us),
        invocation.billed_ms.to_string(),
        ms(invocation.handler_us),
        ms(invocation.round_trip_us),
        ms(invocation.tokenize_us),
        ms(invocation.prefill_us),
        invocation.generated_tokens.to_string(),
        list(&invocation.process_compute_us),
        list(&invocation.process_cpu_us),
        items.join(" "),
        invocation.shard_padded_units.to_string(),
        invocation.max_memory_used_mib.to_string(),
        invocation.cost_usd.to_string(),
        (invocation.cost_usd / f64::from(point.items)).to_string(),
        ms(run.total_us),
        run.instances_started().to_string(),
        run.cost_usd().to_string(),
        invocation.error.clone().unwrap_or_default(),
        place.to_string(),
    ]
}
