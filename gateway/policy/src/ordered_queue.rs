//! A queue by time that is cheap when times arrive in order.
//!
//! Problem: deadlines and urgencies are mostly arrival + constant, hence already sorted; a heap would pay a logarithm for each.
//! Rule: an entry that is not before the last one is appended to a deque; a straggler goes into a heap; the front is the earlier of both.
//! Why not the obvious alternative: a sorted deque alone moves half of itself for each straggler.
//! Bounds: removal is lazy. Entries whose request has gone stay until they reach the front or until the owner compacts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::request::Requests;

/// One request in a queue. Ordered by key, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// What the queue is sorted by, in nanoseconds.
    pub(crate) key: u64,
    /// Arrival number of the request: tells it from a later one in the same slot.
    pub(crate) sequence: u64,
    /// Position of the request in the table.
    pub(crate) slot: u32,
}

/// Entries in ascending order.
#[derive(Debug, Default)]
pub(crate) struct OrderedQueue {
    in_order: VecDeque<Entry>,
    stragglers: BinaryHeap<Reverse<Entry>>,
}

impl OrderedQueue {
    pub(crate) fn len(&self) -> usize {
        self.in_order.len() + self.stragglers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_order.is_empty() && self.stragglers.is_empty()
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.in_order.back().is_none_or(|last| *last <= entry) {
            self.in_order.push_back(entry);
        } else {
            self.stragglers.push(Reverse(entry));
        }
    }

    /// The earliest entry, gone or not.
    #[inline]
    pub(crate) fn front(&self) -> Option<Entry> {
        let front = self.in_order.front().copied();
        match self.stragglers.peek() {
            None => front,
            Some(&Reverse(straggler)) => Some(front.map_or(straggler, |front| front.min(straggler))),
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        match (self.in_order.front(), self.stragglers.peek()) {
            (Some(front), Some(Reverse(straggler))) if straggler < front => {
                self.stragglers.pop().map(|Reverse(entry)| entry)
            }
            (None, Some(_)) => self.stragglers.pop().map(|Reverse(entry)| entry),
            (Some(_) | None, _) => self.in_order.pop_front(),
        }
    }

    /// Drops entries from the front until `stays` holds for the first.
    #[inline]
    pub(crate) fn skip_until(&mut self, requests: &Requests, stays: impl Fn(&Requests, &Entry) -> bool) {
        while let Some(front) = self.front() {
            if stays(requests, &front) {
                break;
            }
            self.pop();
        }
    }

    /// Drops every entry for which `stays` does not hold.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Entry) -> bool) {
        self.in_order.retain(|entry| stays(entry));
        self.stragglers.retain(|Reverse(entry)| stays(entry));
    }

    /// Entries up to a key, the sorted ones first; stragglers follow in no order that means anything.
    pub(crate) fn up_to(&self, key: u64) -> impl Iterator<Item = &Entry> {
        let sorted = self.in_order.iter().take_while(move |entry| entry.key <= key);
        sorted.chain(self.stragglers.iter().map(|Reverse(entry)| entry).filter(move |entry| entry.key <= key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pops_in_order_whatever_the_order_of_pushes(keys in prop::collection::vec(0_u64..50, 0..200)) {
            let mut queue = OrderedQueue::default();
            let mut expected = Vec::new();
            for (sequence, key) in (0_u64..).zip(keys) {
                let entry = Entry { key, sequence, slot: 0 };
                queue.push(entry);
                expected.push(entry);
            }
            expected.sort();
            prop_assert_eq!(queue.len(), expected.len());
            for entry in expected {
                prop_assert_eq!(queue.front(), Some(entry));
                prop_assert_eq!(queue.pop(), Some(entry));
            }
            prop_assert!(queue.is_empty());
        }
    }
}
