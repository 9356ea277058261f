//! A serving plan, prepared for a decision per request: nanoseconds, a table of service times by fill, shared alias names.

use std::sync::Arc;

use gateway_contract::{ServingPlan, Timestamp};

/// A plan that passed validation.
#[derive(Debug)]
pub(crate) struct CompiledPlan {
    pub(crate) plan: ServingPlan,
    /// Alias names, one per rung.
    pub(crate) qualifiers: Vec<Arc<str>>,
    /// Alias name of the canary.
    pub(crate) canary_qualifier: Option<Arc<str>>,
    /// Alias name of the hold-out.
    pub(crate) hold_out_qualifier: Option<Arc<str>>,
    /// `max_queue_delay` in nanoseconds.
    pub(crate) max_queue_delay: u64,
    /// `slo_latency` in nanoseconds; `None` when not even one item alone can meet it: then it must not shape batches, or each
    /// request would close its own batch for ever and meet nothing by it.
    pub(crate) reachable_slo: Option<u64>,
    /// `deadline_margin` in nanoseconds.
    pub(crate) margin: u64,
    /// Upper service time in nanoseconds by fill, 0 to `max_batch_size`; ascending.
    upper: Vec<u64>,
}

impl CompiledPlan {
    pub(crate) fn new(plan: ServingPlan) -> Self {
        let upper: Vec<u64> =
            (0..=plan.max_batch_size).map(|fill| nanos(plan.service_time_upper.upper(fill))).collect();
        let margin = nanos(plan.deadline_margin);
        let slo = nanos(plan.slo_latency);
        let alone = upper.get(1).copied().unwrap_or(0).saturating_add(margin);
        Self {
            qualifiers: plan.rungs.iter().map(|rung| Arc::from(rung.qualifier.as_str())).collect(),
            canary_qualifier: plan.canary.as_ref().map(|canary| Arc::from(canary.rung.qualifier.as_str())),
            hold_out_qualifier: plan.hold_out.as_ref().map(|it| Arc::from(it.rung.qualifier.as_str())),
            max_queue_delay: nanos(plan.max_queue_delay),
            reachable_slo: (slo >= alone).then_some(slo),
            margin,
            upper,
            plan,
        }
    }

    /// Upper service time of a fill, in nanoseconds.
    #[inline]
    pub(crate) fn upper(&self, fill: u32) -> u64 {
        let last = self.upper.len().saturating_sub(1);
        self.upper.get((fill as usize).min(last)).copied().unwrap_or(0)
    }

    /// Largest fill that is done within `remaining` nanoseconds; `None` if not even one item is.
    pub(crate) fn largest_fill_within(&self, remaining: u64) -> Option<u32> {
        let fitting = self.upper.partition_point(|&upper| upper <= remaining);
        u32::try_from(fitting.saturating_sub(1)).ok().filter(|&fill| fill >= 1)
    }
}

/// Nanoseconds of a duration, saturating.
pub(crate) fn nanos(duration: std::time::Duration) -> u64 {
    (Timestamp::ZERO + duration).as_nanos()
}
