//! The items of one model that wait: how much there is, and who came first.
//!
//! Deliberately absent: any order but that of arrival; a packing policy that wants another keeps it beside this.

use std::collections::VecDeque;

use crate::packing::Fill;
use crate::request::{Request, Requests};

/// Gone tickets that are tolerated beyond the number of waiting requests before the queue is compacted.
const SLACK: usize = 64;

/// A request in order of arrival. May have gone since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Nanoseconds.
    pub(crate) arrival: u64,
    pub(crate) sequence: u64,
    pub(crate) slot: u32,
}

/// What waits, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    arrivals: VecDeque<Ticket>,
    pub(crate) requests: usize,
    pub(crate) items: u32,
    pub(crate) bytes: u64,
    pub(crate) response_bytes: u64,
}

impl Waiting {
    #[inline]
    pub(crate) fn push(&mut self, request: &Request, slot: u32) {
        self.requests += 1;
        self.items += request.items;
        self.bytes += request.waiting_bytes;
        self.response_bytes += response_bytes(request, request.items);
        self.arrivals.push_back(Ticket { arrival: request.arrival, sequence: request.sequence, slot });
    }

    /// A request leaves with all its items that still wait.
    pub(crate) fn leave(&mut self, request: &Request) {
        let items = request.waiting_items();
        if items > 0 {
            self.requests -= 1;
            self.items -= items;
            self.bytes -= request.waiting_bytes;
            self.response_bytes -= response_bytes(request, items);
        }
    }

    /// Puts as many items of a request as fit, and at most `quota`, into a batch. Whether none of it waits any more.
    #[inline]
    pub(crate) fn take(&mut self, request: &mut Request, slot: u32, quota: u32, fill: &mut Fill) -> bool {
        if request.next_item == request.items {
            return true;
        }
        if request.deadline < fill.hopeless_before {
            self.leave(request);
            fill.put_aside(request);
            return true;
        }
        let (items, bytes) = fill.take(request, slot, quota);
        self.items -= items;
        self.bytes -= bytes;
        self.response_bytes -= response_bytes(request, items);
        let exhausted = request.next_item == request.items;
        self.requests -= usize::from(exhausted);
        exhausted
    }

    /// The request that came first of those that wait. Exact after [`Waiting::settle`].
    #[inline]
    pub(crate) fn oldest(&self) -> Option<Ticket> {
        self.arrivals.front().copied()
    }

    /// Takes the oldest ticket off, once nothing of its request waits.
    #[inline]
    pub(crate) fn pop(&mut self) {
        self.arrivals.pop_front();
    }

    /// Drops tickets that have gone: those at the front always, the others when they become many.
    #[inline]
    pub(crate) fn settle(&mut self, requests: &Requests) {
        while let Some(ticket) = self.arrivals.front() {
            if requests.waits(ticket.slot, ticket.sequence) {
                break;
            }
            self.arrivals.pop_front();
        }
        if self.arrivals.len() > 2 * self.requests + SLACK {
            self.arrivals.retain(|ticket| requests.waits(ticket.slot, ticket.sequence));
        }
    }

    /// All tickets in order of arrival; some may have gone.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.arrivals.iter()
    }
}

fn response_bytes(request: &Request, items: u32) -> u64 {
    u64::from(request.response_bytes_per_item) * u64::from(items)
}
