//! A batch after it was formed: in flight, or waiting to go out again.

use gateway_contract::{BatchId, ModelId, PlanRevision};

use crate::request::{NEVER, Requests, Segment};
use crate::types::CloseReason;

/// A run of items that share one invocation.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) model: ModelId,
    /// The plan that formed it.
    pub(crate) revision: PlanRevision,
    pub(crate) segments: Vec<Segment>,
    pub(crate) items: u32,
    /// 1 for the first.
    pub(crate) attempt: u32,
    pub(crate) unknown_outcomes: u32,
    /// One item alone, to be measured: only its first attempt.
    pub(crate) is_hold_out: bool,
    /// The batch that this is a retry or a half of.
    pub(crate) parent: Option<BatchId>,
    pub(crate) reason: CloseReason,
    /// Nanoseconds.
    pub(crate) dispatched: u64,
}

/// What a batch amounts to, from the requests in it that are still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) bytes: u64,
    pub(crate) response_bytes: u64,
    /// Nanoseconds; `None`: one waits for ever.
    pub(crate) latest_deadline: Option<u64>,
}

impl Batch {
    /// Drops items whose request has gone.
    pub(crate) fn prune(&mut self, requests: &Requests) {
        self.segments.retain(|segment| requests.live(segment.slot, segment.sequence).is_some());
        self.items = self.segments.iter().map(|segment| segment.items).sum();
    }

    /// Sizes and the last deadline.
    pub(crate) fn measure(&self, requests: &Requests) -> Measure {
        let mut measure = Measure::default();
        let mut latest = 0;
        for segment in &self.segments {
            if let Some(request) = requests.live(segment.slot, segment.sequence) {
                measure.bytes += request.bytes_of(segment.first_item, segment.items);
                measure.response_bytes +=
                    u64::from(request.response_bytes_per_item) * u64::from(segment.items);
                latest = latest.max(request.deadline);
            }
        }
        measure.latest_deadline = (latest != NEVER).then_some(latest);
        measure
    }

    /// Cuts after `items` items, counted from the front; gives the rest. Both sides keep the attempt and the parent.
    pub(crate) fn split_off(&mut self, items: u32) -> Self {
        let mut before = 0;
        let mut rest = Vec::new();
        let mut kept = Vec::with_capacity(self.segments.len());
        for segment in self.segments.drain(..) {
            let keep = items.saturating_sub(before).min(segment.items);
            before += segment.items;
            if keep > 0 {
                kept.push(Segment { items: keep, ..segment });
            }
            if keep < segment.items {
                rest.push(Segment {
                    first_item: segment.first_item + keep,
                    items: segment.items - keep,
                    ..segment
                });
            }
        }
        let rest_items = self.items - items.min(self.items);
        self.segments = kept;
        self.items -= rest_items;
        Self { segments: rest, items: rest_items, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(runs: &[(u32, u32)]) -> Batch {
        let segments: Vec<Segment> = runs
            .iter()
            .zip(0..)
            .map(|(&(first_item, items), slot)| Segment { sequence: 1, slot, first_item, items })
            .collect();
        Batch {
            model: ModelId(0),
            revision: PlanRevision(1),
            items: segments.iter().map(|segment| segment.items).sum(),
            segments,
            attempt: 1,
            unknown_outcomes: 0,
            is_hold_out: false,
            parent: None,
            reason: CloseReason::Full,
            dispatched: 0,
        }
    }

    #[test]
    fn a_cut_keeps_every_item_in_order() {
        for cut in 0..=12 {
            let mut left = batch(&[(3, 5), (0, 1), (10, 6)]);
            let whole: Vec<_> = expand(&left);
            let right = left.split_off(cut);
            assert_eq!((left.items, right.items), (cut, 12 - cut));
            let both: Vec<_> = expand(&left).into_iter().chain(expand(&right)).collect();
            assert_eq!(both, whole);
        }
    }

    fn expand(batch: &Batch) -> Vec<(u32, u32)> {
        let runs = batch.segments.iter();
        runs.flat_map(|run| (run.first_item..run.first_item + run.items).map(|item| (run.slot, item)))
            .collect()
    }
}
