//! Wire types between gateway and worker, versioned, and their codec.
//!
//! Lambda requires JSON payloads; tensors travel inside them as one base64 string per tensor, so that 98 kB of FP32 cost
//! microseconds to read instead of a JSON float parser. Also here: the manifest (`model.toml`) that both sides read.
//! Deliberately absent: I/O, clocks, compression, and anything that knows HTTP or AWS.
#![forbid(unsafe_code)]

mod answer;
mod chunk;
mod datatype;
mod error;
mod generation;
mod manifest;
mod request;
mod tensor;

pub use answer::{Answer, ItemError, ItemErrorCode, ProcessReport, Report, WorkerSpan, WorkerSpanKind};
pub use chunk::{CHUNK_REFERENCE_LIMIT_BYTES, ChunkReceipt, ChunkReference};
pub use datatype::Datatype;
pub use error::ProtocolError;
pub use generation::{GenerationOutput, GenerationSpec};
pub use manifest::{
    Engine, ManifestError, ModelManifest, TensorSpec, TokenizerSpec, Weights, WorkSpec, WorkUnit,
};
pub use request::{Request, RequestHeader, encoded_item_len};
pub use tensor::{ItemShapes, Tensor, TensorChunks};

/// Version of the wire format. Both sides refuse another one by name: a silent mismatch would scatter wrong answers.
pub const PROTOCOL_VERSION: u32 = 1;

/// Upper bound, in bytes, of what an encoded request needs beside its items: header fields, tensor names, punctuation.
/// Holds for names of up to 256 bytes and up to 16 tensors.
pub const REQUEST_ENVELOPE_BYTES: usize = 8 * 1024;

/// Largest synchronous Lambda payload in either direction, in bytes.
/// Source: AWS Lambda quotas, "Invocation payload (request and response)", 6 MB synchronous, enforced as 6 MiB.
pub const LAMBDA_PAYLOAD_LIMIT_BYTES: usize = 6 * 1024 * 1024;
