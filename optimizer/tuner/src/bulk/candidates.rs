//! Places and cuts that are worth a look.
//!
//! Rule, places: every memory size with up to as many processes as it buys vCPUs, rounded up; more of them only repeat fixed work.
//! Rule, cuts: for a ladder of worker counts P and of rounds r, chunks of ⌈N / (P·r)⌉ items, so that the last round is full and no worker waits
//! for another; then the fewest workers that need no more rounds, since each bills an INIT. Byte bounds and the longest chunk cap
//! the size from above.

use std::collections::BTreeSet;

use gateway_contract::Mebibytes;

use super::error::BulkError;
use super::knowledge::{ServiceKnowledge, Work};
use super::plan::{BulkBounds, BulkCut, BulkJob};
use crate::service::belief::RungPoint;

/// Steps of the ladders: each at least one and about this factor more. Workers are what dollars hang on.
const WORKERS_STEP: f64 = 1.03;
const ROUNDS_STEP: f64 = 1.15;
/// Most rounds that cuts are laid out for; smaller chunks only cost more.
const MOST_ROUNDS: u64 = 128;
/// A chunk's upper time is this many deviations above its mean: one in a hundred is longer.
const UPPER_Z: f64 = 2.33;

/// Function sizes with process counts.
pub(super) fn places(bounds: &BulkBounds) -> Vec<RungPoint> {
    let (fewest, most) = bounds.process_count;
    let of = |memory: &Mebibytes| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most six vCPUs")]
        let vcpus = memory.vcpus().ceil() as u32;
        let memory_mib = memory.0;
        (fewest..=most.min(vcpus.max(fewest)))
            .map(move |process_count| RungPoint { memory_mib, process_count })
    };
    bounds.memory_mib.iter().flat_map(of).collect()
}

/// Ascending from `first` to `last`, both included.
fn ladder(first: u64, last: u64, step: f64) -> Vec<u64> {
    let mut steps = vec![first];
    let mut at = first;
    while at < last {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts below 2^53"
        )]
        let next = (at as f64 * step) as u64;
        at = next.max(at + 1).min(last);
        steps.push(at);
    }
    steps
}

/// Most items whose bytes fit one invocation.
///
/// # Errors
/// [`BulkError::ItemTooLarge`] if not even one does.
pub(super) fn most_by_bytes(job: &BulkJob, bounds: &BulkBounds) -> Result<u32, BulkError> {
    let mut most = bounds.chunk_items.1;
    for (bytes, largest) in [
        (job.request_bytes_per_item, bounds.max_request_bytes),
        (job.response_bytes_per_item, bounds.max_response_bytes),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "a payload bound")]
        let items = largest as f64 / bytes.max(1e-9);
        if items < 1.0 {
            return Err(BulkError::ItemTooLarge { bytes, largest });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
        let items = items as u32;
        most = most.min(items);
    }
    Ok(most)
}

/// Most items of a chunk that ends in time at a place, up to `most`; 0: none does.
pub(super) fn most_in_time(
    knowledge: &dyn ServiceKnowledge,
    job: &BulkJob,
    bounds: &BulkBounds,
    point: RungPoint,
    most: u32,
) -> u32 {
    let is_in_time = |items: u32| {
        let law = knowledge.service(point, Work { items, units_per_item: job.units_per_item });
        let upper = (law.ln_mean + UPPER_Z * law.noise_std.hypot(law.unknown_std)).exp();
        upper + knowledge.billing_extra_s() <= bounds.longest_chunk.as_secs_f64()
    };
    if is_in_time(most) {
        return most;
    }
    let (mut good, mut bad) = (0, most);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if is_in_time(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

/// Cuts at one place with chunks of up to `most` items.
pub(super) fn cuts(job: &BulkJob, bounds: &BulkBounds, point: RungPoint, most: u32) -> Vec<BulkCut> {
    let (fewest_workers, most_workers) = bounds.parallelism;
    let (smallest, largest) = (u64::from(bounds.chunk_items.0.min(most)), u64::from(most));
    let workers =
        ladder(u64::from(fewest_workers), u64::from(most_workers).min(job.items).max(1), WORKERS_STEP);
    let mut found = BTreeSet::new();
    for &parallel in &workers {
        for rounds in ladder(1, MOST_ROUNDS, ROUNDS_STEP) {
            let chunk = job.items.div_ceil(parallel * rounds).clamp(smallest, largest);
            let chunks = job.items.div_ceil(chunk);
            let needed = chunks.div_ceil(chunks.div_ceil(parallel)).max(u64::from(fewest_workers));
            found.insert((chunk, needed));
        }
    }
    let cut = |(chunk, parallel)| BulkCut {
        chunk_items: u32::try_from(chunk).unwrap_or(most),
        process_count: point.process_count,
        memory_mib: Mebibytes(point.memory_mib),
        parallelism: u32::try_from(parallel).unwrap_or(most_workers),
    };
    found.into_iter().map(cut).collect()
}
