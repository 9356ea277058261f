//! Requests that are not answered yet: a ring by id, for ids ascend and the oldest end first, nearly.

use std::collections::VecDeque;

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Nanoseconds; [`CLOSED`] once it has ended.
    pub(super) arrived: u64,
    pub(super) model: u16,
    pub(super) class: u16,
    /// Its first item crashes the function.
    pub(super) is_poison: bool,
}

const CLOSED: u64 = u64::MAX;

/// The ring.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    ring: VecDeque<Open>,
    first: u64,
}

impl OpenRequests {
    /// The id that the next request gets.
    pub(super) fn next_id(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    #[inline]
    pub(super) fn push(&mut self, open: Open) {
        self.ring.push_back(open);
    }

    #[inline]
    pub(super) fn get(&self, id: u64) -> Option<&Open> {
        let at = usize::try_from(id.checked_sub(self.first)?).ok()?;
        self.ring.get(at).filter(|open| open.arrived != CLOSED)
    }

    /// It has ended. What was known of it, unless it had ended before.
    #[inline]
    pub(super) fn close(&mut self, id: u64) -> Option<Open> {
        let at = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let open = self.ring.get_mut(at)?;
        if open.arrived == CLOSED {
            return None;
        }
        let known = *open;
        open.arrived = CLOSED;
        while self.ring.front().is_some_and(|open| open.arrived == CLOSED) {
            self.ring.pop_front();
            self.first += 1;
        }
        Some(known)
    }

    /// Ids and what is known of all that are open, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Open)> {
        (self.first..).zip(&self.ring).filter(|(_, open)| open.arrived != CLOSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_once_and_the_ring_shrinks() {
        let mut requests = OpenRequests::default();
        let open = |arrived| Open { arrived, model: 0, class: 0, is_poison: false };
        (0..3).for_each(|at| requests.push(open(at)));
        assert_eq!(requests.close(1).map(|open| open.arrived), Some(1));
        assert!(requests.close(1).is_none() && requests.get(1).is_none());
        assert!(requests.close(0).is_some());
        assert_eq!((requests.ring.len(), requests.next_id()), (1, 3));
        assert_eq!(requests.iter().map(|(id, _)| id).collect::<Vec<_>>(), [2]);
    }
}
