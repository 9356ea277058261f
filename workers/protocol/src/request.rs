//! Gateway → worker: one batch.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::tensor::{WireTensor, write_json, write_tensors};
use crate::{PROTOCOL_VERSION, ProtocolError, Tensor, TensorChunks};

/// Everything of a batch but its tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader {
    /// Names this attempt; the answer repeats it.
    pub batch: u64,
    /// Model name as in the manifest; the worker refuses another model's batch.
    pub model: String,
    /// Model version as in the manifest; the worker refuses another one.
    pub model_version: String,
    /// Model processes to run the batch in, 1 to 64. May differ from one invocation to the next.
    pub process_count: u32,
    /// Milliseconds after arrival at the worker when nobody waits for the answer any more; no shard starts after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<u32>,
    /// A process silent for this long, in milliseconds, is taken for hung; absent: half of the time left to the Lambda deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hang_after_ms: Option<u32>,
    /// W3C trace context of the batch; also in the worker's log lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// W3C trace state beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The batch's trace is recorded: the report shall say when what ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report_spans: bool,
}

/// A decoded batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Everything but the tensors.
    pub header: RequestHeader,
    /// One id per item, unique within the batch. Empty: a warm-up call that only reports.
    pub ids: Vec<u64>,
    /// The inputs; each holds one entry per id.
    pub inputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Deserialize)]
struct WireRequest<'a> {
    v: u32,
    #[serde(flatten)]
    header: RequestHeader,
    ids: Vec<u64>,
    #[serde(borrow)]
    inputs: Vec<WireTensor<'a>>,
}

impl Request {
    /// Reads a payload.
    ///
    /// # Errors
    /// Another protocol version, malformed JSON, or tensors that do not fit their shapes or the number of ids.
    pub fn decode(payload: &[u8]) -> Result<Self, ProtocolError> {
        let wire: WireRequest<'_> = read(payload, |wire: &WireRequest<'_>| wire.v)?;
        let inputs = decode_tensors(wire.inputs, wire.ids.len())?;
        Ok(Self { header: wire.header, ids: wire.ids, inputs })
    }
}

impl RequestHeader {
    /// Writes a payload. `ids` and every tensor hold the same items in the same order.
    #[must_use]
    pub fn encode(&self, ids: &[u64], inputs: &[TensorChunks<'_>]) -> Vec<u8> {
        let data_len: usize = inputs.iter().flat_map(|tensor| &tensor.chunks).map(|chunk| chunk.len()).sum();
        let mut out = Vec::with_capacity(data_len * 4 / 3 + ids.len() * 8 + 512);
        out.extend_from_slice(format!("{{\"v\":{PROTOCOL_VERSION},").as_bytes());
        let start = out.len();
        write_json(&mut out, self);
        out.remove(start); // the header's own opening brace: its fields join this object
        out.pop(); // and its closing one
        out.extend_from_slice(b",\"ids\":");
        write_json(&mut out, ids);
        write_tensors(&mut out, "inputs", inputs);
        out.push(b'}');
        out
    }
}

/// Upper bound of the bytes that one item adds to an encoded request or answer: its id, and per tensor its base64 share,
/// length prefixes included in `raw_bytes`, and its own shape in a ragged batch.
#[must_use]
pub fn encoded_item_len(raw_bytes: usize, tensors: usize, rank: usize) -> usize {
    const ID_BYTES: usize = 21; // 20 digits of a u64 and a comma
    let shape_bytes = 3 + 11 * rank; // brackets, a comma, and per dimension ten digits and a comma
    ID_BYTES + raw_bytes.div_ceil(3) * 4 + tensors * shape_bytes
}

/// Reads a message and checks its version. One pass if all is well; only if not, the version is looked for on its own, as another
/// version's message may have any form.
pub(crate) fn read<'a, T: Deserialize<'a>>(
    payload: &'a [u8],
    version: impl Fn(&T) -> u32,
) -> Result<T, ProtocolError> {
    let message = serde_json::from_slice::<T>(payload).map_err(|error| malformed(&error));
    let theirs = match &message {
        Ok(message) => version(message),
        Err(_) => serde_json::from_slice(payload).map_or(PROTOCOL_VERSION, |VersionOnly { v }| v),
    };
    if theirs != PROTOCOL_VERSION {
        return Err(ProtocolError::VersionMismatch { ours: PROTOCOL_VERSION, theirs });
    }
    message
}

pub(crate) fn decode_tensors(wire: Vec<WireTensor<'_>>, items: usize) -> Result<Vec<Tensor>, ProtocolError> {
    wire.into_iter()
        .map(|wire| {
            let tensor = wire.decode()?;
            tensor.item_ranges(items)?;
            Ok(tensor)
        })
        .collect()
}

fn malformed(error: &serde_json::Error) -> ProtocolError {
    ProtocolError::Malformed { reason: Cow::from(error.to_string()).into_owned() }
}
