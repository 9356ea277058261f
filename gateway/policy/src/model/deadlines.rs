//! Hard deadlines of a model's unanswered requests.

use gateway_contract::RequestId;

use crate::ordered_queue::{Entry, OrderedQueue};
use crate::request::{NEVER, Request, Requests};

/// Gone entries that are tolerated beyond the number of live requests before the queue is compacted.
const SLACK: usize = 256;

/// Deadlines in order.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: OrderedQueue,
}

impl Deadlines {
    #[inline]
    pub(crate) fn push(&mut self, request: &Request, slot: u32) {
        if request.deadline != NEVER {
            self.queue.push(Entry { key: request.deadline, sequence: request.sequence, slot });
        }
    }

    /// Next deadline in nanoseconds. Exact after [`Deadlines::settle`].
    #[inline]
    pub(crate) fn next(&self) -> Option<u64> {
        self.queue.front().map(|entry| entry.key)
    }

    /// Takes off the next request whose deadline is not after `now`.
    #[inline]
    pub(crate) fn pop_due(&mut self, requests: &Requests, now: u64) -> Option<RequestId> {
        while self.queue.front().is_some_and(|front| front.key <= now) {
            let entry = self.queue.pop()?;
            if let Some(request) = requests.live(entry.slot, entry.sequence) {
                return Some(request.id);
            }
        }
        None
    }

    /// Drops entries of requests that have gone: those at the front always, the others when they become many.
    #[inline]
    pub(crate) fn settle(&mut self, requests: &Requests) {
        self.queue
            .skip_until(requests, |requests, entry| requests.live(entry.slot, entry.sequence).is_some());
        if self.queue.len() > 2 * requests.len() + SLACK {
            self.queue.retain(|entry| requests.live(entry.slot, entry.sequence).is_some());
        }
    }
}
