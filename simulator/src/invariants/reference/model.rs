//! What the reference knows of one model.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_contract::{BatchId, RequestId, ServingPlan, Timestamp};
use gateway_policy::CloseReason;

use super::budget::Bucket;
use super::queue::Queue;

/// A batch that is out.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) model: gateway_contract::ModelId,
    /// Its items, in order.
    pub(super) items: Vec<(RequestId, u32)>,
    pub(super) attempt: u32,
    /// Unknown outcomes of the batches that it descends from.
    pub(super) unknowns: u32,
}

/// What goes out again after a batch has ended.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub(super) attempt: u32,
    pub(super) reason: CloseReason,
    pub(super) unknowns: u32,
    /// Not before.
    pub(super) ready_from: Timestamp,
    /// Ready then at the latest.
    pub(super) ready_to: Timestamp,
    /// Most items of one of its pieces.
    pub(super) most_items: u32,
    /// Items that have not gone out again and whose request is there.
    pub(super) live: u32,
    /// Most batches that these are in.
    pub(super) pieces: u32,
    /// Whether some of it may have been denied.
    pub(super) is_open: bool,
}

/// Lambda asked for a pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Timestamp,
    /// What may run meanwhile.
    pub(super) level: u32,
}

/// One model.
#[derive(Clone, Debug)]
pub(super) struct ModelReference {
    pub(super) plan: ServingPlan,
    pub(super) queue: Queue,
    pub(super) in_flight: u32,
    pub(super) bucket: Bucket,
    pub(super) was_throttled: bool,
    pub(super) pause: Option<Pause>,
    /// Function errors since the last success.
    pub(super) failures: u32,
    /// Batches that fitted the canary since the last that went there.
    pub(super) since_canary: u32,
    /// Items that went out since the last run of hold-outs fell due, and what of that run is left.
    pub(super) hold_outs: (u32, u32),
    /// The hold-out that is in flight.
    pub(super) hold_out: Option<BatchId>,
    /// Whether a batch proved too large: then batches may close below the plan's byte bounds.
    pub(super) is_corrected: bool,
    /// By the batch that ended.
    pub(super) again: BTreeMap<BatchId, Again>,
    /// Batches whose retry the budget did not allow.
    pub(super) denied: std::collections::BTreeSet<BatchId>,
    /// When more than a full batch waited last.
    pub(super) overloaded_at: Option<Timestamp>,
}

impl ModelReference {
    pub(super) fn new(now: Timestamp, plan: ServingPlan) -> Self {
        Self {
            bucket: Bucket::new(now, &plan.retry, plan.max_in_flight),
            plan,
            queue: Queue::default(),
            in_flight: 0,
            was_throttled: false,
            pause: None,
            failures: 0,
            since_canary: 0,
            hold_outs: (0, 0),
            hold_out: None,
            is_corrected: false,
            again: BTreeMap::new(),
            denied: std::collections::BTreeSet::new(),
            overloaded_at: None,
        }
    }

    /// Upper service time of a fill; a fill above the plan's bound counts as a full batch.
    pub(super) fn upper(&self, items: u32) -> Duration {
        self.plan.service_time_upper.upper(items.min(self.plan.max_batch_size))
    }

    /// Invocations that may run for sure. Once Lambda has throttled the window adapts, and only one is sure.
    pub(super) fn surely_allowed(&self) -> u32 {
        if self.was_throttled { 1 } else { self.plan.max_in_flight }
    }

    /// Whether more than a full batch waits or waited at this time.
    pub(super) fn is_overloaded(&self, now: Timestamp) -> bool {
        self.queue.items > u64::from(self.plan.max_batch_size) || self.overloaded_at == Some(now)
    }

    /// Whether a request with this deadline could not be served any more by a full batch.
    pub(super) fn may_be_hopeless(&self, now: Timestamp, deadline: Timestamp) -> bool {
        self.is_overloaded(now) && deadline < now + self.upper(self.plan.max_batch_size)
    }

    /// Places in the window that batches which go out again may hold.
    pub(super) fn pieces(&self) -> u32 {
        self.again.values().filter(|again| again.live > 0).map(|again| again.pieces.min(again.live)).sum()
    }

    /// One item fewer goes out again after a batch.
    pub(super) fn forget_again(&mut self, parent: BatchId) {
        if let Some(again) = self.again.get_mut(&parent) {
            again.live = again.live.saturating_sub(1);
        }
    }
}
