//! What is under way and when it ends: invocations and environments that start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use gateway_contract::Mebibytes;
use gateway_policy::{Dispatch, EnvironmentCall};

use super::attempt::Attempt;

/// Something that ends at a known time. Times are nanoseconds.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are batches, and a box would be an allocation each"
)]
pub(super) enum Job {
    Batch {
        dispatch: Dispatch,
        attempt: Attempt,
        began: u64,
    },
    WarmUp {
        model: usize,
        memory: Mebibytes,
        began: u64,
    },
    /// A no-op call of the engine; `ran`: an environment answers it.
    Call {
        call: EnvironmentCall,
        ran: bool,
        began: u64,
    },
}

/// Jobs by their end; of several that end together, the one that was begun first.
#[derive(Default)]
pub(super) struct Jobs {
    places: Vec<Option<Job>>,
    free: Vec<u32>,
    /// When each ends, its number in the order of beginning, its place.
    ending: BinaryHeap<Reverse<(u64, u64, u32)>>,
    begun: u64,
    peak: u32,
}

impl Jobs {
    pub(super) fn begin(&mut self, ends: u64, job: Job) {
        let place = if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(job);
            place
        } else {
            self.places.push(Some(job));
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        };
        self.ending.push(Reverse((ends, self.begun, place)));
        self.begun += 1;
        self.peak = self.peak.max(u32::try_from(self.ending.len()).unwrap_or(u32::MAX));
    }

    /// When the next one ends; `u64::MAX`: there is none.
    #[inline]
    pub(super) fn next_end(&self) -> u64 {
        self.ending.peek().map_or(u64::MAX, |Reverse((at, ..))| *at)
    }

    /// Takes out the next one to end.
    pub(super) fn end(&mut self) -> Option<Job> {
        let Reverse((_, _, place)) = self.ending.pop()?;
        self.free.push(place);
        self.places[place as usize].take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ending.is_empty()
    }

    /// Most of them at a time so far.
    pub(super) fn peak(&self) -> u32 {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_that_end_together_the_first_begun_ends_first() {
        let mut jobs = Jobs::default();
        let job = |model| Job::WarmUp { model, memory: Mebibytes(128), began: 0 };
        for (ends, model) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            jobs.begin(ends, job(model));
        }
        let order = std::iter::from_fn(|| jobs.end()).map(|job| match job {
            Job::WarmUp { model, .. } => model,
            Job::Batch { .. } | Job::Call { .. } => usize::MAX,
        });
        assert_eq!(order.collect::<Vec<_>>(), [1, 3, 0, 2]);
        assert_eq!((jobs.peak(), jobs.next_end(), jobs.places.len()), (4, u64::MAX, 4));
    }
}
