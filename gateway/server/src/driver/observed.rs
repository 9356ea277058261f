//! What the driver tells the control loop of each invocation: a bounded queue that never makes the data path wait.
//!
//! When nobody reads, the oldest observations go first, and are counted: the newest say most about the present.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_contract::{BatchId, ModelId, ServiceObservation, Timestamp};
use gateway_invoker::RefusedCause;
use gateway_policy::CloseReason;
use tokio::sync::Notify;

/// Observations kept for a control loop that has fallen behind: seconds of a busy gateway, about a mebibyte.
const CAPACITY: usize = 4096;

/// An invocation that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Its model.
    pub model: ModelId,
    /// What it took.
    pub observation: ServiceObservation,
    /// Why Lambda refused it, if it did: a missing alias shows here first.
    pub refused: Option<RefusedCause>,
    /// The alias that it was sent to.
    pub qualifier: std::sync::Arc<str>,
    /// What people see of it.
    pub facts: BatchFacts,
}

/// What a batch was, beside what it teaches.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchFacts {
    /// Names this attempt.
    pub batch: BatchId,
    /// The batch that it is a retry or a half of.
    pub parent: Option<BatchId>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Arrival of its oldest item.
    pub opened: Timestamp,
    /// When it was closed and sent.
    pub closed: Timestamp,
    /// Why it was closed.
    pub reason: CloseReason,
    /// How the invocation ended, as in `penstock_invocations_total`.
    pub outcome: &'static str,
    /// Items that an invocation which ended well left without a value.
    pub failed_items: u32,
    /// Dollars.
    pub cost_usd: f64,
}

/// The queue.
#[derive(Debug, Default)]
pub struct ObservationQueue {
    waiting: Mutex<VecDeque<Observed>>,
    some: Notify,
    dropped: AtomicU64,
}

impl ObservationQueue {
    /// Adds one; drops the oldest if there are too many.
    pub fn push(&self, observed: Observed) {
        let was_empty = {
            let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if waiting.len() >= CAPACITY {
                waiting.pop_front();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            waiting.push_back(observed);
            waiting.len() == 1
        };
        if was_empty {
            self.some.notify_one();
        }
    }

    /// Returns when there may be something to take.
    pub async fn wait(&self) {
        self.some.notified().await;
    }

    /// Takes all, oldest first.
    #[must_use]
    pub fn take(&self) -> VecDeque<Observed> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Observations dropped since the last call.
    #[must_use]
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_contract::{Mebibytes, PlanRevision, ServiceOutcome};
    use std::time::Duration;

    fn observed(items: u32) -> Observed {
        let observation = ServiceObservation {
            at: Timestamp::ZERO,
            revision: PlanRevision(1),
            is_canary: false,
            is_hold_out: false,
            outcome: ServiceOutcome::Completed,
            items,
            memory_mib: Mebibytes(1024),
            process_count: 1,
            shard_padded_units: 0,
            work_units: 0,
            handler: Duration::ZERO,
            billed: Duration::ZERO,
            billed_is_estimate: false,
            round_trip: Duration::ZERO,
            init: None,
            max_memory_used: None,
            process_restarts: 0,
        };
        let facts = BatchFacts {
            batch: BatchId(1),
            parent: None,
            attempt: 1,
            opened: Timestamp::ZERO,
            closed: Timestamp::ZERO,
            reason: CloseReason::Full,
            outcome: "ok",
            failed_items: 0,
            cost_usd: 0.0,
        };
        Observed { model: ModelId(0), observation, refused: None, qualifier: "q".into(), facts }
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let queue = ObservationQueue::default();
        for items in 0..u32::try_from(CAPACITY).unwrap() + 3 {
            queue.push(observed(items));
        }
        let taken = queue.take();
        assert_eq!((taken.len(), taken[0].observation.items), (CAPACITY, 3));
        assert_eq!((queue.take_dropped(), queue.take_dropped()), (3, 0));
    }

    #[tokio::test]
    async fn a_reader_that_sleeps_is_woken() {
        let queue = std::sync::Arc::new(ObservationQueue::default());
        let reader = tokio::spawn({
            let queue = queue.clone();
            async move {
                queue.wait().await;
                queue.take().len()
            }
        });
        tokio::task::yield_now().await;
        queue.push(observed(1));
        assert_eq!(reader.await.unwrap(), 1);
    }
}
