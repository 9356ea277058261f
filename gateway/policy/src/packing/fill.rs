//! A batch while it is being filled: what it holds and what still fits.

use gateway_contract::RequestId;

use crate::request::{NEVER, Request, Segment};
use crate::types::{ItemBytes, Part};

/// A batch in the making, with its bounds.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(crate) segments: Vec<Segment>,
    pub(crate) parts: Vec<Part>,
    pub(crate) items: u32,
    /// Encoded bytes.
    pub(crate) bytes: u64,
    /// Estimated bytes of the answer.
    pub(crate) response_bytes: u64,
    /// Arrival of its oldest item, in nanoseconds.
    pub(crate) oldest: u64,
    /// When the last caller in it stops waiting, in nanoseconds.
    pub(crate) latest_deadline: u64,
    /// Requests whose deadline (nanoseconds) is before this cannot be served in time while others can: they are put aside.
    pub(crate) hopeless_before: u64,
    /// Requests put aside.
    pub(crate) hopeless: Vec<RequestId>,
    /// An item did not fit by bytes.
    pub(crate) is_full_in_bytes: bool,
    max_items: u32,
    max_bytes: u64,
    max_response_bytes: u64,
}

impl Fill {
    /// An empty batch. The two vectors are empty, for reuse of their memory.
    pub(crate) fn new(
        segments: Vec<Segment>,
        parts: Vec<Part>,
        max_items: u32,
        max_bytes: u64,
        max_response_bytes: u64,
    ) -> Self {
        Self {
            segments,
            parts,
            items: 0,
            bytes: 0,
            response_bytes: 0,
            oldest: u64::MAX,
            latest_deadline: 0,
            hopeless_before: 0,
            hopeless: Vec::new(),
            is_full_in_bytes: false,
            max_items,
            max_bytes,
            max_response_bytes,
        }
    }

    /// Items that still fit by number.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        self.max_items - self.items
    }

    /// Whether so much more fits by bytes, both ways.
    pub(crate) fn has_room_for_bytes(&self, bytes: u64, response_bytes: u64) -> bool {
        self.bytes + bytes <= self.max_bytes
            && self.response_bytes + response_bytes <= self.max_response_bytes
    }

    /// Whether nothing more goes in.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.is_full_in_bytes || self.items == self.max_items
    }

    /// Puts in the next waiting items of a request, as many as fit and at most `quota`. Gives their number and bytes.
    /// An item that is too large by estimate goes if it is alone: the estimate may be wrong, and Lambda has the last word.
    #[inline]
    pub(crate) fn take(&mut self, request: &mut Request, slot: u32, quota: u32) -> (u32, u64) {
        let wanted = request.waiting_items().min(self.room()).min(quota);
        if wanted == 0 {
            return (0, 0);
        }
        let mut items = self.fitting(request, wanted);
        self.is_full_in_bytes |= items < wanted;
        if items == 0 {
            if self.items > 0 {
                return (0, 0);
            }
            items = 1;
        }
        let first_item = request.next_item;
        let bytes = request.bytes_of(first_item, items);
        self.segments.push(Segment { sequence: request.sequence, slot, first_item, items });
        self.parts.push(Part { request: request.id, first_item, items });
        self.items += items;
        self.bytes += bytes;
        self.response_bytes += u64::from(request.response_bytes_per_item) * u64::from(items);
        self.oldest = self.oldest.min(request.arrival);
        self.latest_deadline = self.latest_deadline.max(request.deadline);
        request.next_item += items;
        request.waiting_bytes -= bytes;
        (items, bytes)
    }

    /// Puts a request aside: none of it waits any more.
    pub(crate) fn put_aside(&mut self, request: &mut Request) {
        self.hopeless.push(request.id);
        request.next_item = request.items;
        request.waiting_bytes = 0;
    }

    /// When the last caller stops waiting; `None`: one waits for ever.
    pub(crate) fn latest_deadline(&self) -> Option<u64> {
        (self.latest_deadline != NEVER).then_some(self.latest_deadline)
    }

    /// How many of the next `wanted` items fit by bytes.
    #[inline]
    fn fitting(&self, request: &Request, wanted: u32) -> u32 {
        let room = self.max_bytes.saturating_sub(self.bytes);
        let response_room = self.max_response_bytes.saturating_sub(self.response_bytes);
        let by_response = fitting_uniform(response_room, request.response_bytes_per_item, wanted);
        match &request.item_bytes {
            ItemBytes::Uniform(bytes) => fitting_uniform(room, *bytes, by_response),
            ItemBytes::Each(each) => {
                let mut room = room;
                let run = each.iter().skip(request.next_item as usize).take(by_response as usize);
                let fitting = run.take_while(|&&bytes| {
                    let fits = u64::from(bytes) <= room;
                    room = room.saturating_sub(u64::from(bytes));
                    fits
                });
                u32::try_from(fitting.count()).unwrap_or(by_response)
            }
        }
    }
}

#[inline]
fn fitting_uniform(room: u64, bytes: u32, wanted: u32) -> u32 {
    if u64::from(bytes) * u64::from(wanted) <= room {
        return wanted;
    }
    // `bytes` is not zero here: zero bytes always fit.
    u32::try_from(room / u64::from(bytes)).unwrap_or(wanted).min(wanted)
}
