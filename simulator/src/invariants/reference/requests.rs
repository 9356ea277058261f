//! What the reference knows of an admitted request: where each of its items is.

use gateway_contract::{BatchId, ItemFailure, Timestamp};
use gateway_policy::{ItemBytes, RequestMeta};

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the queue.
    Waiting,
    /// In this batch.
    InFlight(BatchId),
    /// In a batch that goes out again after this one.
    Again(BatchId),
    /// As before, or failed: the rule leaves it open (a jittered back-off against a deadline, a budget at its edge).
    AgainOrFailed(BatchId, ItemFailure),
    /// It has its value.
    Done,
    /// It has failed for good.
    Failed(ItemFailure),
}

/// An admitted request that was not answered.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) meta: RequestMeta,
    pub(super) arrival: Timestamp,
    /// Arrival number.
    pub(super) number: u64,
    pub(super) items: Vec<Place>,
    /// First item that waits.
    pub(super) next_item: u32,
    /// Its hard deadline has passed: it must be answered before time moves on.
    pub(super) is_expired: bool,
}

impl Known {
    pub(super) fn new(meta: RequestMeta, arrival: Timestamp, number: u64) -> Self {
        let items = vec![Place::Waiting; meta.items as usize];
        Self { meta, arrival, number, items, next_item: 0, is_expired: false }
    }

    /// Items that wait.
    pub(super) fn waiting(&self) -> u32 {
        if self.is_expired { 0 } else { self.meta.items - self.next_item }
    }

    /// Encoded bytes of a run of items.
    pub(super) fn bytes(&self, first: u32, items: u32) -> u64 {
        (first..first + items).map(|item| item_bytes(&self.meta.item_bytes, item)).sum()
    }

    /// Estimated bytes of the answer to so many items.
    pub(super) fn response_bytes(&self, items: u32) -> u64 {
        response_bytes(&self.meta) * u64::from(items)
    }

    /// Hard deadline; the end of time if none.
    pub(super) fn deadline(&self) -> Timestamp {
        self.meta.deadline.unwrap_or(Timestamp::MAX)
    }
}

/// Encoded bytes of one item.
pub(super) fn item_bytes(bytes: &ItemBytes, item: u32) -> u64 {
    match bytes {
        ItemBytes::Uniform(bytes) => u64::from(*bytes),
        ItemBytes::Each(each) => each.get(item as usize).copied().map_or(0, u64::from),
    }
}

/// Estimated bytes of one item's answer: one at the least.
fn response_bytes(meta: &RequestMeta) -> u64 {
    u64::from(meta.response_bytes_per_item.max(1))
}
