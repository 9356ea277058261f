//! What a job would take before it is begun: a look at its first lines, and a plan from what is known of the model.
//!
//! The choice itself is the tuner's (`optimizer_tuner::bulk`); here is only what it asks about the input.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{Architecture, Mebibytes, PriceTable};
pub use optimizer_tuner::bulk::{
    BulkBounds, BulkChoice, BulkCut, BulkError as PlanError, BulkPlan, Profile, ServiceKnowledge, Wish,
};
use optimizer_tuner::bulk::{BulkJob, Learned, choose, estimate};
use optimizer_tuner::{Economics, TunerState};
use serde::{Deserialize, Serialize};
use workers_protocol::{LAMBDA_PAYLOAD_LIMIT_BYTES, ModelManifest, REQUEST_ENVELOPE_BYTES, encoded_item_len};

use crate::chunk::most_items_by_answer;
use crate::input::{Blob, Place, RawLine, lines};
use crate::{BulkError, DataFormat, InputSpec, LineCodec, OperatingPoint};

/// Lines that are looked at.
const LOOK_LINES: u64 = 2000;

/// Reads a profile's file.
///
/// # Errors
/// [`BulkError::Usage`] with the place of what is wrong.
pub fn read_profile(text: &str) -> Result<Profile, BulkError> {
    toml::from_str(text)
        .map_err(|error| BulkError::Usage { reason: format!("the profile is not valid: {error}") })
}

/// What the first lines of an input look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputSketch {
    /// Lines of the whole input, by its size and the lines seen; exact if all were seen.
    pub lines: u64,
    /// Whether all lines were seen.
    pub is_exact: bool,
    /// Items of a line that decodes, mean.
    pub items_per_line: f64,
    /// Encoded bytes of an item in a request, mean.
    pub request_bytes_per_item: f64,
    /// Of the lines seen, the share that does not decode.
    pub faulty_share: f64,
}

impl InputSketch {
    /// Items of the whole input.
    #[must_use]
    pub fn items(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
        let items = (self.lines as f64 * (1.0 - self.faulty_share) * self.items_per_line).round() as u64;
        items.max(1)
    }
}

/// Looks at the first lines of an input. Invokes nothing.
///
/// # Errors
/// An input that cannot be read.
pub async fn sketch(
    input: &InputSpec,
    manifest: &Arc<ModelManifest>,
    codec: Arc<dyn LineCodec>,
) -> Result<InputSketch, BulkError> {
    let blob = Blob::open(&input.location).await?;
    let (input, manifest) = (input.clone(), Arc::clone(manifest));
    let looked = tokio::task::spawn_blocking(move || look(&blob, &input, &manifest, &*codec));
    looked.await.map_err(|_| BulkError::Output { reason: "the reader's thread died".to_owned() })?
}

pub(crate) fn look(
    blob: &Blob,
    input: &InputSpec,
    manifest: &ModelManifest,
    codec: &dyn LineCodec,
) -> Result<InputSketch, BulkError> {
    let mut reader = lines(blob, input, Place::default())?;
    let rank = manifest.inputs.iter().map(|spec| spec.shape.len()).max().unwrap_or(0);
    let overhead = encoded_item_len(0, manifest.inputs.len(), rank);
    let (mut seen, mut good, mut items, mut bytes, mut end) = (0_u64, 0_u64, 0_u64, 0_usize, 0_u64);
    let mut line = RawLine::default();
    let mut is_exact = true;
    while reader.next(&mut line)? {
        seen += 1;
        end = line.end;
        if line.fault.is_none()
            && let Ok(decoded) = codec.decode(line.line + 1, &line.json)
        {
            good += 1;
            items += u64::from(decoded.items);
            bytes += decoded.inputs.iter().map(|tensor| tensor.data.len().div_ceil(3) * 4).sum::<usize>();
            bytes += decoded.items as usize * overhead;
        }
        if seen == LOOK_LINES {
            is_exact = false;
            break;
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    let by_bytes = (blob.bytes() as f64 / end.max(1) as f64 * seen as f64).round() as u64;
    let total = match (is_exact, input.format) {
        (true, _) => seen,
        (false, DataFormat::Parquet) => blob.parquet_rows()?,
        (false, DataFormat::Jsonl | DataFormat::Csv) => by_bytes,
    };
    let items = items as f64;
    Ok(InputSketch {
        lines: total,
        is_exact,
        items_per_line: items / good.max(1) as f64,
        request_bytes_per_item: bytes as f64 / items.max(1.0),
        faulty_share: 1.0 - good as f64 / seen.max(1) as f64,
    })
}

/// What a plan may choose from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanBounds {
    /// Memory sizes that have an alias, ascending, at least one.
    pub memory_mib: Vec<u32>,
    /// Fixed process count; `None`: 1 to 6.
    pub process_count: Option<u32>,
    /// Fixed items of a chunk.
    pub chunk_items: Option<u32>,
    /// Parallel invocations at most.
    pub parallelism: u32,
    /// Longest that a chunk may take.
    pub longest_chunk: Duration,
}

impl PlanBounds {
    pub(crate) fn bulk(&self, manifest: &ModelManifest) -> BulkBounds {
        let by_answer = most_items_by_answer(manifest).unwrap_or(u32::MAX).min(10_000);
        let most = (LAMBDA_PAYLOAD_LIMIT_BYTES - REQUEST_ENVELOPE_BYTES) as u64;
        BulkBounds {
            memory_mib: self.memory_mib.iter().copied().map(Mebibytes).collect(),
            process_count: self.process_count.map_or((1, 6), |count| (count, count)),
            chunk_items: self.chunk_items.map_or((1, by_answer), |items| (items, items)),
            parallelism: (1, self.parallelism.max(1)),
            max_request_bytes: most,
            max_response_bytes: most,
            longest_chunk: self.longest_chunk,
            ..BulkBounds::default()
        }
    }
}

fn bulk_job(sketch: &InputSketch, units_per_item: Option<f64>, wish: Wish) -> BulkJob {
    BulkJob {
        items: sketch.items(),
        // A chunk is cut by its real bytes: here a mean with head-room, so that few are cut.
        request_bytes_per_item: sketch.request_bytes_per_item * 1.1,
        response_bytes_per_item: 0.0, // the bound of items holds it where the manifest says how large answers are
        units_per_item,
        wish,
    }
}

/// Chooses chunk, processes, memory and parallelism.
///
/// # Errors
/// A wish that cannot be granted, with what can.
pub fn plan(
    knowledge: &dyn ServiceKnowledge,
    sketch: &InputSketch,
    wish: Wish,
    bounds: &PlanBounds,
    manifest: &ModelManifest,
    prices: &PriceTable,
    architecture: Architecture,
) -> Result<BulkChoice, PlanError> {
    let economics = Economics { prices: prices.clone(), architecture, month_gb_seconds: 0.0 };
    choose(knowledge, &bulk_job(sketch, None, wish), &bounds.bulk(manifest), &economics)
}

/// Items of a chunk that suit an input at a given place, by what a gateway's tuner has learned of the model: the chunk of the fastest plan that costs at
/// most 2 % more than the cheapest. `None`: nothing was learned that says it.
#[must_use]
pub fn learned_chunk_items(
    state: &TunerState,
    sketch: &InputSketch,
    point: &OperatingPoint,
    bounds: &PlanBounds,
    manifest: &ModelManifest,
    prices: &PriceTable,
    architecture: Architecture,
) -> Option<u32> {
    let bounds = PlanBounds {
        memory_mib: vec![point.memory_mib],
        process_count: Some(point.process_count),
        ..bounds.clone()
    };
    let learned = Learned::from_state(state, &bounds.bulk(manifest))?;
    let choice = plan(&learned, sketch, Wish::default(), &bounds, manifest, prices, architecture).ok()?;
    Some(choice.plan.cut.chunk_items)
}

/// What a given cut would take.
///
/// # Errors
/// Values out of range.
pub fn predict(
    knowledge: &dyn ServiceKnowledge,
    sketch: &InputSketch,
    cut: BulkCut,
    bounds: &PlanBounds,
    manifest: &ModelManifest,
    prices: &PriceTable,
    architecture: Architecture,
) -> Result<BulkPlan, PlanError> {
    let economics = Economics { prices: prices.clone(), architecture, month_gb_seconds: 0.0 };
    let job = bulk_job(sketch, None, Wish::default());
    estimate(knowledge, &job, cut, &bounds.bulk(manifest), &economics)
}

#[cfg(test)]
mod tests {
    use gateway_contract::{
        ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceObservation, ServiceOutcome,
        ServiceTimeTable, ServingPlan, Timestamp,
    };
    use optimizer_tuner::{Tuner, TunerSettings};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tuner() -> Tuner {
        let plan = ServingPlan {
            model: ModelId(0),
            revision: PlanRevision(1),
            parent: None,
            packing: PackingPolicy::Deadline,
            max_batch_size: 8,
            max_queue_delay: 30 * MS,
            max_in_flight: 60,
            queue_capacity_items: 10_000,
            queue_capacity_bytes: 1 << 28,
            max_request_payload_bytes: 6_000_000,
            max_response_payload_bytes: 6_000_000,
            slo_latency: 300 * MS,
            deadline_margin: 10 * MS,
            service_time_upper: ServiceTimeTable::new(vec![(1, 40 * MS), (8, 120 * MS)]).unwrap(),
            rungs: vec![Rung {
                max_items: 8,
                qualifier: "mem-1769".to_owned(),
                memory_mib: Mebibytes(1769),
                process_count: 1,
            }],
            canary: None,
            hold_out: None,
            environments: None,
            retry: RetryLimits::default(),
        };
        let economics = Economics {
            prices: PriceTable::default(),
            architecture: Architecture::X86_64,
            month_gb_seconds: 0.0,
        };
        Tuner::new(TunerSettings::default(), plan, economics).unwrap()
    }

    /// A batch of live traffic: 50 ms, and 20 ms an item.
    fn observation(items: u32, is_cold: bool) -> ServiceObservation {
        let handler = 50 * MS + 20 * MS * items;
        let init = is_cold.then_some(400 * MS);
        ServiceObservation {
            at: Timestamp::ZERO,
            revision: PlanRevision(1),
            is_canary: false,
            is_hold_out: false,
            outcome: ServiceOutcome::Completed,
            items,
            memory_mib: Mebibytes(1769),
            process_count: 1,
            shard_padded_units: u64::from(items),
            work_units: u64::from(items),
            handler,
            billed: handler + MS + init.unwrap_or_default(),
            billed_is_estimate: false,
            round_trip: handler + 5 * MS,
            init,
            max_memory_used: None,
            process_restarts: 0,
        }
    }

    #[test]
    fn live_traffic_teaches_the_chunk_of_a_batch() {
        let manifest = ModelManifest::parse(
            "name = 'm'\nversion = '1'\nengine = 'identity'\n\
             inputs = [{ name = 'x', datatype = 'BYTES', shape = [1] }]\noutputs = [{ name = 'y', datatype = 'FP32', shape = [2] }]",
        )
        .unwrap();
        let point = OperatingPoint {
            function: "f".to_owned(),
            qualifier: "mem-1769".to_owned(),
            memory_mib: 1769,
            process_count: 1,
        };
        let bounds = PlanBounds {
            memory_mib: Vec::new(),
            process_count: None,
            chunk_items: None,
            parallelism: 20,
            longest_chunk: Duration::from_secs(30),
        };
        let suits = |tuner: &Tuner, lines: u64| {
            let sketch = InputSketch {
                lines,
                is_exact: true,
                items_per_line: 1.0,
                request_bytes_per_item: 100.0,
                faulty_share: 0.0,
            };
            let prices = PriceTable::default();
            let state = tuner.save();
            learned_chunk_items(&state, &sketch, &point, &bounds, &manifest, &prices, Architecture::X86_64)
        };
        let mut tuner = tuner();
        assert_eq!(suits(&tuner, 20_000), None, "nothing was seen yet");
        for (items, is_cold) in
            [(1, true), (1, false), (4, true), (4, false), (8, false), (6, false), (2, false)]
        {
            for _ in 0..5 {
                tuner.handle_observation(&observation(items, is_cold));
            }
        }
        let chunk = suits(&tuner, 20_000).unwrap();
        // The fixed 50 ms are a loss of 2 % at 125 items, and no chunk may take longer than 30 s.
        assert!((60..=1500).contains(&chunk), "{chunk}");
        assert!(suits(&tuner, 100).unwrap() <= 100);
    }
}
