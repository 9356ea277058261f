//! CPU functions of Alibaba Function Compute: average time by vCPUs and batch of four models, as HarmonyBatch publishes them (exponential regressions).
//!
//! There vCPUs are bought apart from memory and one process computes with several threads: the law is the credit with a share of the work that threads can
//! spread. Compared from 0.5 to 4 vCPUs (beyond, the curves are flat) and where the model fits: Function Compute sells at most 4 GB a vCPU, so below that no
//! function can have been measured, and the curves are continued there.
//! Reference: Function Compute documentation, "Instance types and usage modes".

use std::collections::BTreeMap;

use super::{Columns, Comparison};
use crate::lambda::CpuWork;
use crate::profile::{ProfileError, minimise, relative_errors};

const MOST_VCPUS: f64 = 4.0;
const MOST_MB_PER_VCPU: f64 = 4096.0;

/// Compares with the table of `model,vcpu,batch,avg_s,mem_mb_floor`.
///
/// # Errors
/// Missing columns, values that are no numbers.
pub fn harmony_batch(text: &str) -> Result<Vec<Comparison>, ProfileError> {
    let table = Columns::read(text);
    let numbers = table.numbers(["vcpu", "batch", "avg_s", "mem_mb_floor"])?;
    let mut by_model: BTreeMap<&str, Vec<[f64; 3]>> = BTreeMap::new();
    for ([model], [vcpus, batch, seconds, floor_mb]) in table.texts(["model"])?.into_iter().zip(numbers) {
        if vcpus <= MOST_VCPUS && floor_mb <= vcpus * MOST_MB_PER_VCPU {
            by_model.entry(model).or_default().push([vcpus, batch, seconds]);
        }
    }
    Ok(by_model.into_iter().map(|(model, rows)| compare(model, &rows)).collect())
}

/// Seconds by the law: CPU seconds a batch and an item, share that threads spread.
fn seconds(values: &[f64], vcpus: f64, batch: f64) -> f64 {
    let total_seconds = values[0] + batch * values[1];
    // As many threads as whole CPUs are seen; Function Compute shows at least one.
    let threads = vcpus.ceil().max(1.0);
    let share = values[2].min(1.0);
    let longest_shard_seconds = total_seconds * (1.0 - share + share / threads);
    CpuWork { total_seconds, longest_shard_seconds }.seconds_at(vcpus, threads, true)
}

fn compare(model: &str, rows: &[[f64; 3]]) -> Comparison {
    let loss = |values: &[f64], rows: &[[f64; 3]]| -> f64 {
        rows.iter().map(|[vcpus, batch, s]| (seconds(values, *vcpus, *batch) / s).ln().abs()).sum()
    };
    let first = rows.first().map_or(1.0, |row| row[2]);
    let start = [0.2 * first, 0.3 * first, 0.5];
    let errors = |values: &[f64], rows: &[[f64; 3]]| {
        relative_errors(rows.iter().map(|[vcpus, batch, s]| (seconds(values, *vcpus, *batch), *s)))
    };
    let all = minimise(&start, |values| loss(values, rows));
    // Batches of 1 and 4 tell of those of 2 and 3.
    let (seen, unseen): (Vec<[f64; 3]>, Vec<[f64; 3]>) =
        rows.iter().partition(|row| row[1] < 1.5 || row[1] > 3.5);
    let part = minimise(&start, |values| loss(values, &seen));
    Comparison {
        source: format!("HarmonyBatch on Function Compute, {model}"),
        quantity: "average time, up to 4 vCPU, batches of 1 to 4".to_owned(),
        law: format!(
            "{:.0} ms a batch, {:.0} ms an item, parallel share {:.2}",
            all[0] * 1e3,
            all[1] * 1e3,
            all[2].min(1.0)
        ),
        errors: errors(&all, rows),
        held_out: Some(errors(&part, &unseen)),
        note: "below one vCPU the published curves rise faster than 1/vCPU (perhaps threads that spin use up the quota)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amdahls_law_on_credit_is_found_again() {
        let mut text = "model,vcpu,batch,avg_s,mem_mb_floor\nm,0.5,1,99,4096\n".to_owned();
        for step in 2..=16 {
            for batch in 1..=4 {
                let (vcpus, batch) = (f64::from(step) / 4.0, f64::from(batch));
                text += &format!("m,{vcpus},{batch},{},896\n", seconds(&[0.05, 0.2, 0.6], vcpus, batch));
            }
        }
        let found = harmony_batch(&text).unwrap().remove(0);
        assert!(found.errors.p95 < 0.02 && found.held_out.unwrap().p95 < 0.03, "{found:?}");
    }
}
