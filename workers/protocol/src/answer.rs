//! Worker → gateway: a value or an error per item, and what the batch took.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::request::{decode_tensors, read};
use crate::tensor::{WireTensor, write_json, write_tensors};
use crate::{PROTOCOL_VERSION, ProtocolError, Tensor, TensorChunks};

/// Why one item has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemErrorCode {
    /// The input cannot be fed to this model (for example longer than `max_length`); the caller must change it.
    InvalidInput,
    /// The model refused or failed on this item.
    ModelFailed,
    /// The process that ran this item alone died.
    ProcessDied,
    /// The process that ran this item alone hung.
    ProcessHung,
    /// The process that ran this item alone outgrew its memory share.
    OutOfMemory,
    /// Time ran out before this item could run; it was never tried to the end.
    DeadlineExceeded,
}

/// An item without a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    /// The item's id.
    pub id: u64,
    /// Why, for programs.
    pub code: ItemErrorCode,
    /// Why, for people; never contains another item's input.
    pub message: String,
}

/// What one model process did in this invocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// Items that it answered.
    pub items: u32,
    /// Work units of those items (unit named in the manifest), padding not counted.
    pub work_units: u64,
    /// Work units with padding: rows × longest row. What the process really computed.
    pub padded_units: u64,
    /// Wall time inside the engine, microseconds.
    pub compute_us: u64,
    /// Of `compute_us`, what reading prompts took; 0 for models that do not generate.
    #[serde(default)]
    pub prefill_us: u64,
    /// Tokens written; 0 for models that do not generate.
    #[serde(default)]
    pub generated_tokens: u64,
    /// CPU time of the process in this invocation, microseconds.
    pub cpu_us: u64,
    /// Resident set after the batch, bytes; pages shared with the zygote count in full.
    pub resident_bytes: u64,
    /// Whether this process replaced one that died, hung or outgrew its share during this invocation.
    pub replaced: bool,
}

/// What a stretch of time inside the worker was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerSpanKind {
    /// A model process was forked: order to notice.
    Fork,
    /// A model process had a shard: its frame written to its last part read.
    Shard,
    /// It tokenized.
    Tokenize,
    /// Its engine ran.
    Run,
    /// Something that a newer worker tells.
    #[serde(other)]
    Other,
}

/// A stretch of time inside the worker, by the worker's clock alone: it says nothing of when the handler began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSpan {
    /// What it was.
    pub kind: WorkerSpanKind,
    /// Number of the model process, counted over the sandbox's life from 1.
    pub process: u64,
    /// Start, microseconds after the handler began.
    pub start_us: u64,
    /// Length, microseconds.
    pub duration_us: u64,
    /// Items concerned.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub items: u32,
    /// Index, in the report's list, of the span that it is a part of; none: of the handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u32>,
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemErrorCode>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What the invocation took, seen from inside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// First invocation of this sandbox.
    pub cold: bool,
    /// From process start to ready for the first invocation, microseconds; the same in every answer of a sandbox.
    pub init_us: u64,
    /// Wall time of the handler, microseconds.
    pub handler_us: u64,
    /// Wall time of tokenizing, microseconds, summed over processes.
    pub tokenize_us: u64,
    /// One entry per process that took part.
    pub processes: Vec<ProcessReport>,
    /// Processes replaced during this invocation.
    pub process_restarts: u32,
    /// Proportional set size of the whole sandbox, bytes: shared pages counted once. Sampled, not on every invocation: 0 means not sampled.
    pub resident_bytes: u64,
    /// When what ran, if the request asked for it; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<WorkerSpan>,
    /// Spans beyond the bound.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spans_left_out: u32,
}

/// A decoded answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request's batch id.
    pub batch: u64,
    /// Ids of the items that have values, in the order of the outputs' items.
    pub ids: Vec<u64>,
    /// The outputs; each holds one entry per id in `ids`.
    pub outputs: Vec<Tensor>,
    /// The other items.
    pub errors: Vec<ItemError>,
    /// What it took.
    pub report: Report,
}

#[derive(Deserialize)]
struct WireAnswer<'a> {
    v: u32,
    batch: u64,
    ids: Vec<u64>,
    #[serde(borrow)]
    outputs: Vec<WireTensor<'a>>,
    errors: Vec<ItemError>,
    report: Report,
}

impl Answer {
    /// Reads a payload.
    ///
    /// # Errors
    /// Another protocol version, malformed JSON, or tensors that do not fit their shapes or the number of ids.
    pub fn decode(payload: &[u8]) -> Result<Self, ProtocolError> {
        let wire: WireAnswer<'_> = read(payload, |wire: &WireAnswer<'_>| wire.v)?;
        let outputs = decode_tensors(wire.outputs, wire.ids.len())?;
        Ok(Self { batch: wire.batch, ids: wire.ids, outputs, errors: wire.errors, report: wire.report })
    }

    /// Checks that this answers exactly the items of batch `batch`: each id once, with a value or an error, and none other.
    ///
    /// # Errors
    /// [`ProtocolError::WrongItems`]; such an answer must be treated as a failure of the whole batch, never shifted into place.
    pub fn check_answers(&self, batch: u64, ids: &[u64]) -> Result<(), ProtocolError> {
        let wrong = |reason: String| Err(ProtocolError::WrongItems { reason });
        if self.batch != batch {
            return wrong(format!("it names batch {}, asked was {batch}", self.batch));
        }
        if self.errors.is_empty() && self.ids == ids {
            return Ok(()); // the usual case, without sorting
        }
        let asked: BTreeSet<u64> = ids.iter().copied().collect();
        let mut answered = BTreeSet::new();
        for id in self.ids.iter().copied().chain(self.errors.iter().map(|error| error.id)) {
            if !asked.contains(&id) {
                return wrong(format!("item {id} was not asked for"));
            }
            if !answered.insert(id) {
                return wrong(format!("item {id} is answered twice"));
            }
        }
        match asked.difference(&answered).next() {
            Some(id) => wrong(format!("item {id} is missing")),
            None => Ok(()),
        }
    }

    /// Writes a payload from parts whose output data may still lie in several places.
    #[must_use]
    pub fn encode(
        batch: u64,
        ids: &[u64],
        outputs: &[TensorChunks<'_>],
        errors: &[ItemError],
        report: &Report,
    ) -> Vec<u8> {
        let data_len: usize = outputs.iter().flat_map(|tensor| &tensor.chunks).map(|chunk| chunk.len()).sum();
        let mut out = Vec::with_capacity(data_len * 4 / 3 + ids.len() * 8 + 1024);
        out.extend_from_slice(format!("{{\"v\":{PROTOCOL_VERSION},\"batch\":{batch},\"ids\":").as_bytes());
        write_json(&mut out, ids);
        write_tensors(&mut out, "outputs", outputs);
        out.extend_from_slice(b",\"errors\":");
        write_json(&mut out, errors);
        out.extend_from_slice(b",\"report\":");
        write_json(&mut out, report);
        out.push(b'}');
        out
    }
}
