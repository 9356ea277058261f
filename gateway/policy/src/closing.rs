//! When the next batch of a model closes.
//!
//! Rule: at the earliest of
//!   full (in items or bytes),
//!   arrival of the oldest item + `max_queue_delay`,
//!   earliest urgency − `service_time_upper(fill)` − `deadline_margin`, where urgency is the earlier of soft and hard deadline.
//! The last moves earlier as the batch fills, since a fuller batch takes longer.
//!
//! Under overload deadlines lie in the past and would ask for tiny batches at once. They get none: what waits goes out when a slot of the
//! window frees, and by then it is a batch; deadlines limit the fill ([`fill_bound`]) only while less than a full batch waits; and an
//! objective that no batch can meet does not count at all (`CompiledPlan::reachable_slo`).
//! The packing policy says which urgency counts; `Fifo` and `None` have none.

use gateway_contract::PackingPolicy;

use crate::compiled_plan::CompiledPlan;
use crate::types::{CloseReason, WakeReason};

/// What waits, in the numbers that matter here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    pub(crate) items: u32,
    pub(crate) bytes: u64,
    pub(crate) response_bytes: u64,
    /// Bounds of a batch, corrected.
    pub(crate) max_bytes: u64,
    pub(crate) max_response_bytes: u64,
    /// Nanoseconds.
    pub(crate) oldest: u64,
    /// Nanoseconds.
    pub(crate) earliest_urgency: Option<u64>,
    pub(crate) is_draining: bool,
}

/// When to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// Nothing waits.
    Never,
    Now(CloseReason),
    /// Not before this time, in nanoseconds.
    At(u64, WakeReason),
}

/// The closing rule.
#[inline]
pub(crate) fn close(plan: &CompiledPlan, backlog: &Backlog, now: u64) -> Close {
    if backlog.items == 0 {
        return Close::Never;
    }
    if plan.plan.packing == PackingPolicy::None {
        return Close::Now(CloseReason::Immediate);
    }
    if backlog.items >= plan.plan.max_batch_size {
        return Close::Now(CloseReason::Full);
    }
    if backlog.bytes >= backlog.max_bytes || backlog.response_bytes >= backlog.max_response_bytes {
        return Close::Now(CloseReason::Bytes);
    }
    if backlog.is_draining {
        return Close::Now(CloseReason::Drain);
    }
    let delay = backlog.oldest.saturating_add(plan.max_queue_delay);
    let deadline = backlog
        .earliest_urgency
        .map(|urgency| urgency.saturating_sub(plan.upper(backlog.items)).saturating_sub(plan.margin));
    if delay <= now {
        return Close::Now(CloseReason::Delay);
    }
    match deadline {
        Some(deadline) if deadline <= now => Close::Now(CloseReason::Deadline),
        Some(deadline) => Close::At(deadline.min(delay), WakeReason::BatchCloses),
        None => Close::At(delay, WakeReason::BatchCloses),
    }
}

/// A deadline cuts what waits into no more than about this many batches: beyond that, being late is cheaper.
const MAX_PIECES: u32 = 4;

/// Most items that the next batch should take: all that fit, unless that would make it miss a deadline that a smaller one meets.
#[inline]
pub(crate) fn fill_bound(plan: &CompiledPlan, backlog: &Backlog, now: u64) -> u32 {
    let max = plan.plan.max_batch_size;
    let Some(urgency) = backlog.earliest_urgency else {
        return max;
    };
    if backlog.items >= max {
        return max;
    }
    let within = plan.largest_fill_within(urgency.saturating_sub(now));
    within.filter(|&fill| fill.saturating_mul(MAX_PIECES) >= backlog.items).unwrap_or(max)
}
