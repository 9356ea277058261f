//! What a job would take before it is begun: a look at its first lines, and a plan from what is known of the model.
//!
//! The choice itself is the tuner's (`optimizer_tuner::bulk`); here is only what it asks about the input.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{Architecture, Mebibytes, PriceTable};
use optimizer_tuner::Economics;
pub use optimizer_tuner::bulk::{
    BulkBounds, BulkChoice, BulkCut, BulkError as PlanError, BulkPlan, Profile, ServiceKnowledge, Wish,
};
use optimizer_tuner::bulk::{BulkJob, choose, estimate};
use workers_protocol::{LAMBDA_PAYLOAD_LIMIT_BYTES, ModelManifest, REQUEST_ENVELOPE_BYTES, encoded_item_len};

use crate::chunk::most_items_by_answer;
use crate::input::{Blob, Place, RawLine, lines};
use crate::{BulkError, DataFormat, InputSpec, LineCodec};

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

fn look(
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
#[derive(Clone, Debug, PartialEq)]
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
    fn bulk(&self, manifest: &ModelManifest) -> BulkBounds {
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
