//! What the engine keeps of an admitted request, and the table of all of them.
//!
//! An item is in exactly one place at a time: at or after `next_item` it waits in the queue, before it belongs to one batch or is
//! resolved. So no map of items is needed to answer each exactly once. A request that was answered or cancelled leaves the table at
//! once; batches that still carry its items hold a [`Segment`] whose arrival number no longer matches, and skip it.

use gateway_contract::{ItemFailure, ModelId, RequestId};

use crate::id_table::IdTable;
use crate::types::{ItemBytes, RequestMeta};

/// No hard deadline, in nanoseconds.
pub(crate) const NEVER: u64 = u64::MAX;

/// An admitted, unanswered request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) model: ModelId,
    pub(crate) class: u16,
    pub(crate) priority: u8,
    /// Arrival number, from 1, unique for the life of the engine.
    pub(crate) sequence: u64,
    /// Nanoseconds.
    pub(crate) arrival: u64,
    /// Hard deadline in nanoseconds, or [`NEVER`].
    pub(crate) deadline: u64,
    pub(crate) items: u32,
    /// First item that waits.
    pub(crate) next_item: u32,
    /// Items without a result.
    pub(crate) unresolved: u32,
    pub(crate) response_bytes_per_item: u32,
    pub(crate) item_bytes: ItemBytes,
    /// Encoded bytes of the items that wait.
    pub(crate) waiting_bytes: u64,
    pub(crate) failed: Vec<(u32, ItemFailure)>,
}

impl Request {
    pub(crate) fn new(meta: RequestMeta, sequence: u64, arrival: u64) -> Self {
        let waiting_bytes = total_bytes(&meta.item_bytes, meta.items);
        Self {
            id: meta.id,
            model: meta.model,
            class: meta.class,
            priority: meta.priority,
            sequence,
            arrival,
            deadline: meta.deadline.map_or(NEVER, gateway_contract::Timestamp::as_nanos),
            items: meta.items,
            next_item: 0,
            unresolved: meta.items,
            response_bytes_per_item: meta.response_bytes_per_item.max(1),
            item_bytes: meta.item_bytes,
            waiting_bytes,
            failed: Vec::new(),
        }
    }

    pub(crate) fn waiting_items(&self) -> u32 {
        self.items - self.next_item
    }

    /// Encoded bytes of a run of items.
    pub(crate) fn bytes_of(&self, first_item: u32, items: u32) -> u64 {
        match &self.item_bytes {
            ItemBytes::Uniform(bytes) => u64::from(*bytes) * u64::from(items),
            ItemBytes::Each(each) => {
                let run = each.iter().skip(first_item as usize).take(items as usize);
                run.map(|&bytes| u64::from(bytes)).sum()
            }
        }
    }
}

/// Encoded bytes of a whole request.
pub(crate) fn total_bytes(item_bytes: &ItemBytes, items: u32) -> u64 {
    match item_bytes {
        ItemBytes::Uniform(bytes) => u64::from(*bytes) * u64::from(items),
        ItemBytes::Each(each) => each.iter().map(|&bytes| u64::from(bytes)).sum(),
    }
}

/// A run of items of one request inside a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) slot: u32,
    pub(crate) first_item: u32,
    pub(crate) items: u32,
}

/// All admitted, unanswered requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    table: IdTable<Request>,
    next_sequence: u64,
}

impl Requests {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find(&self, id: RequestId) -> Option<u32> {
        self.table.find(id.0)
    }

    /// Adds a request; gives its position and its arrival number.
    pub(crate) fn insert(&mut self, meta: RequestMeta, arrival: u64) -> (u32, u64) {
        self.next_sequence += 1;
        let id = meta.id.0;
        (self.table.insert(id, Request::new(meta, self.next_sequence, arrival)), self.next_sequence)
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Request> {
        self.table.remove(id.0)
    }

    pub(crate) fn at(&self, slot: u32) -> Option<&Request> {
        self.table.get(slot)
    }

    /// The request, unless it has gone.
    #[inline]
    pub(crate) fn live(&self, slot: u32, sequence: u64) -> Option<&Request> {
        self.table.get(slot).filter(|request| request.sequence == sequence)
    }

    /// The request, unless it has gone.
    #[inline]
    pub(crate) fn live_mut(&mut self, slot: u32, sequence: u64) -> Option<&mut Request> {
        self.table.get_mut(slot).filter(|request| request.sequence == sequence)
    }

    /// Whether a request is there and has items that wait.
    #[inline]
    pub(crate) fn waits(&self, slot: u32, sequence: u64) -> bool {
        self.live(slot, sequence).is_some_and(|request| request.next_item < request.items)
    }
}
