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
            waits: packing != PackingPolicy::None,
        };
        if !is_shaped {
            return curve;
        }
        let cut: Vec<f64> = (0..=max).map(|n| slo - upper(n.max(1)).as_secs_f64()).collect();
        // A request of several items jumps: the fill before the jump is lower than n − 1 by the mean age of a renewal process.
        let age = table.law().items_per_request.mean_excess();
        for n in 1..=max as usize {
            let before = (n as f64 - 1.0 - age).max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1")]
            let whole = before as usize;
            let share = before - whole as f64;
            let left = cut[whole] + (cut[(whole + 1).min(max as usize)] - cut[whole]) * share - margin;
            curve.fills[n] = table.position(left);
            curve.close[n] = table.position(cut[n] - margin);
            curve.reach[n] = table.position(left.min(cut[n]));
        }
        curve
    }
}
