//! What passes between HTTP and the driver: a validated request in, a joined answer out.
//!
//! The protocol front ends (REST today) know nothing of batches; the driver knows nothing of HTTP. This file is the seam.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use gateway_contract::{ItemFailure, ModelId};
use gateway_policy::Rejection;
use smallvec::SmallVec;
use workers_protocol::Datatype;

use crate::telemetry::traces::RequestTrace;

/// Dimensions of one item, without the batch dimension.
pub type ItemShape = SmallVec<[u32; 4]>;

/// A request that fits its model: nothing in it can fail for its form any more.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The model asked for.
    pub model: ModelId,
    /// Items: the leading dimension of every input, at least 1.
    pub items: u32,
    /// One tensor per input of the manifest, in the manifest's order.
    pub inputs: Vec<InputTensor>,
    /// 0 is most urgent.
    pub priority: u8,
    /// When the caller stops waiting, from now on; `None`: the configured default.
    pub timeout: Option<Duration>,
    /// The trace that it belongs to.
    pub trace: Option<RequestTrace>,
}

/// An input as it will travel: row-major little-endian bytes, items one after the other.
#[derive(Clone, Debug)]
pub struct InputTensor {
    /// Shape of each item.
    pub item_shape: ItemShape,
    /// The data; BYTES elements as `u32` length + bytes.
    pub data: Bytes,
    /// Where each item ends in `data`; `None`: all items have `data.len() / items` bytes.
    pub item_ends: Option<Box<[u32]>>,
}

impl InputTensor {
    /// Byte range of an item, given the number of items.
    #[must_use]
    pub fn item_range(&self, item: u32, items: u32) -> std::ops::Range<usize> {
        let item = item as usize;
        match &self.item_ends {
            Some(ends) => {
                let start = item.checked_sub(1).map_or(0, |before| ends[before] as usize);
                start..ends[item] as usize
            }
            None => {
                let size = self.data.len() / items.max(1) as usize;
                item * size..(item + 1) * size
            }
        }
    }
}

/// A request whose items are all resolved.
#[derive(Clone, Debug, Default)]
pub struct Completed {
    /// One tensor per output of the manifest, in the manifest's order, holding all items, if no item failed.
    pub outputs: Vec<OutputTensor>,
    /// Items without a value, ascending; if any, `outputs` is empty.
    pub failed: Vec<FailedItem>,
    /// Where the time went and what it cost.
    pub receipt: Receipt,
}

/// An output tensor of a whole request.
#[derive(Clone, Debug)]
pub struct OutputTensor {
    /// Element type as the worker gave it (checked against the manifest).
    pub datatype: Datatype,
    /// Shape of each item.
    pub item_shape: ItemShape,
    /// Data of all items; BYTES elements as `u32` length + bytes.
    pub data: Bytes,
}

/// An item without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedItem {
    /// Its position in the request.
    pub item: u32,
    /// Why.
    pub failure: ItemFailure,
    /// What the worker said, for people; never quotes another item's input.
    pub message: Option<String>,
}

/// What a request took, attributed to it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Receipt {
    /// Arrival to dispatch of its last part.
    pub queue_wait: Duration,
    /// Dispatch to outcome of its last part.
    pub invoke: Duration,
    /// Time inside the model processes, of its slowest part.
    pub compute: Duration,
    /// Its share, by items, of the dollars of the invocations that it rode on, retries included.
    pub cost_usd: f64,
    /// Items of the largest batch that it rode on.
    pub batch_items: u32,
    /// Whether one of its invocations was a cold start.
    pub cold: bool,
}

/// Why a submission got no [`Completed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// Not admitted.
    #[error("not admitted")]
    Rejected(Rejection),
    /// Its hard deadline passed.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// The driver stopped before it could answer.
    #[error("the gateway is stopping")]
    Stopped,
}

/// Something that answers submissions: the driver, or a stand-in in a front end's tests.
///
/// Dropping the future cancels the request: what still waits is removed from the queue.
pub trait Inference: Clone + Send + Sync + 'static {
    /// Runs one request to its end.
    fn infer(&self, submission: Submission) -> impl Future<Output = Result<Completed, InferError>> + Send;
}
