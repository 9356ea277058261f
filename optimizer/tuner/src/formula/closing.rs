//! When a batch closes, by its fill: the engine's rule as places on the time axis of a table.
//!
//! Rule (gateway/policy, `closing`), in time since the oldest item: with n items the batch closes at
//! C(n) = min(max_queue_delay, slo − upper(n) − margin), at once when full. An arrival may carry it past C(n) and close it then and there;
//! if n items could then no longer be done in time (later than slo − upper(n)), the largest fill that can be is sent and the newcomer
//! stays. Both bounds fall with n, so a batch reaches n items exactly if the n-th arrives by E(n) = min(C(n − 1), slo − upper(n)).
//!
//! Two arrays per table of upper service times: they do not depend on bound or delay, so a search shares them over all plans that run
//! on the same functions; the delay only cuts them off.
//! Deliberately absent: hard deadlines, length classes and byte bounds. They are the request's, not the plan's.

use std::time::Duration;

use gateway_contract::PackingPolicy;

use super::counts::ArrivalTable;

/// Close times by fill for one table of upper service times.
#[derive(Clone, Debug)]
pub struct CloseCurve {
    /// E(n) without the delay; index 0 unused.
    pub(crate) reach: Vec<f32>,
    /// C(n − 1) without the delay: until when the n-th may still fill the batch.
    pub(crate) fills: Vec<f32>,
    /// C(n) without the delay.
    pub(crate) close: Vec<f32>,
    /// slo − upper(n), until when n items may be sent, and C(n − E\[K\]), until when an arrival may land on n: between the two it is cut.
    pub(crate) cut_from: Vec<f32>,
    pub(crate) cut_until: Vec<f32>,
    /// Whether any fill can be cut.
    pub(crate) cuts: bool,
    /// Whether batches wait at all.
    pub(crate) waits: bool,
}

impl CloseCurve {
    /// The curve of a plan's closing rule. `upper` gives the upper service time of 1, 2, … items, never descending, up to the
    /// table's largest bound.
    #[must_use]
    pub fn new(
        table: &ArrivalTable,
        packing: PackingPolicy,
        slo_latency: Duration,
        deadline_margin: Duration,
        upper: impl Fn(u32) -> Duration,
    ) -> Self {
        let max = table.max_items();
        let end = table.position(f64::INFINITY);
        let (slo, margin) = (slo_latency.as_secs_f64(), deadline_margin.as_secs_f64());
        let is_shaped = packing == PackingPolicy::Deadline && slo >= upper(1).as_secs_f64() + margin;
        let mut curve = Self {
            reach: vec![end; max as usize + 1],
            fills: vec![end; max as usize + 1],
            close: vec![end; max as usize + 1],
            cut_from: vec![end; max as usize + 1],
            cut_until: vec![end; max as usize + 1],
            cuts: false,
            waits: packing != PackingPolicy::None,
        };
        if !is_shaped {
            return curve;
        }
        let cut: Vec<f64> = (0..=max).map(|n| slo - upper(n.max(1)).as_secs_f64()).collect();
        // C before the jump onto (or over) a fill: a request of several items jumps from further below.
        let before = |n: usize, jump: f64| {
            let from = (n as f64 - jump).max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1")]
            let whole = from as usize;
            let next = cut[(whole + 1).min(max as usize)];
            cut[whole] + (next - cut[whole]) * (from - whole as f64) - margin
        };
        let items = &table.law().items_per_request;
        for (n, &cut_from) in cut.iter().enumerate().skip(1) {
            let left = before(n, 1.0 + items.mean_excess());
            curve.fills[n] = table.position(left);
            curve.close[n] = table.position(cut_from - margin);
            curve.reach[n] = table.position(left.min(cut_from));
            let lands_until = before(n, items.mean());
            curve.cut_from[n] = table.position(cut_from);
            curve.cut_until[n] = table.position(lands_until.max(cut_from));
            curve.cuts |= lands_until > cut_from;
        }
        curve
    }
}
