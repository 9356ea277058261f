//! Gateway → worker and back: a batch that lies in an object store, for engines whose own messages are too small for one.
//!
//! The object `request` holds what an ordinary payload holds, byte for byte; the worker writes the ordinary answer to `answer` and returns a
//! receipt. Both messages stay far below the 256 KiB that AWS Step Functions carries. Deliberately absent: the store itself, and who may
//! read what, which is the worker's.

use serde::{Deserialize, Serialize};

use crate::request::read;
use crate::{PROTOCOL_VERSION, ProtocolError, Report};

/// Longest payload that is looked at for a reference, in bytes: two URLs of S3's longest keys, and some room. A batch of items that is as
/// short is told apart by its members.
pub const CHUNK_REFERENCE_LIMIT_BYTES: usize = 8 * 1024;

/// Where a batch lies, and where its answer belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkReference {
    /// `s3://bucket/key` of the encoded request.
    pub request: String,
    /// `s3://bucket/key` of the answer. If it is there already, the chunk was answered before and is not run again.
    pub answer: String,
}

/// What the worker returns for a reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkReceipt {
    /// The request's batch id; 0 if the answer was there already.
    pub batch: u64,
    /// Items with a value.
    pub items: u64,
    /// Items with an error.
    pub errors: u64,
    /// Whether the answer was there already, so that nothing was run.
    pub was_there: bool,
    /// What it took, without the writing of the answer.
    pub report: Report,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireReference {
    v: u32,
    chunk: ChunkReference,
}

#[derive(Serialize, Deserialize)]
struct WireReceipt {
    v: u32,
    #[serde(flatten)]
    receipt: ChunkReceipt,
}

impl ChunkReference {
    /// Reads a payload; `None` if it is no reference but something else, such as a batch.
    ///
    /// # Errors
    /// Another protocol version.
    pub fn decode(payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        if payload.len() > CHUNK_REFERENCE_LIMIT_BYTES {
            return Ok(None);
        }
        match read(payload, |wire: &WireReference| wire.v) {
            Ok(wire) => Ok(Some(wire.chunk)),
            Err(ProtocolError::Malformed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_json(&WireReference { v: PROTOCOL_VERSION, chunk: self.clone() })
    }
}

impl ChunkReceipt {
    /// Reads a payload.
    ///
    /// # Errors
    /// Another protocol version, or something else than a receipt.
    pub fn decode(payload: &[u8]) -> Result<Self, ProtocolError> {
        read(payload, |wire: &WireReceipt| wire.v).map(|wire| wire.receipt)
    }

    /// Writes a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_json(&WireReceipt { v: PROTOCOL_VERSION, receipt: self.clone() })
    }
}

fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::new();
    crate::tensor::write_json(&mut out, message);
    out
}
