//! BATCH: a MAP fitted to past arrivals, then every memory size × batch bound × time-out by an analytic model, for a single process.
//!
//! As published: the service law is profiled beforehand, arrivals of the past are fitted once an hour, the cheapest configuration whose latency
//! percentile keeps the objective is taken. In its favour: the service law is the true one and, since a run of two hours would be half over
//! before the first fit, it also fits after one, five and fifteen minutes.
//! Where none keeps the objective, the one that misses it least.
//! Reference: Ali, Pinciroli, Yan and Smirni, "BATCH: machine learning inference serving on serverless platforms with adaptive batching",
//! SC 2020.

use gateway_contract::WindowStats;

use super::mmpp::Mmpp;
use super::periodic::{Chosen, Periodic, Planner};
use super::timed_batches::{TimedBatches, TimedPlan};
use crate::bounds::Known;

/// Seconds of the first fits, and between later ones.
const FIRST_S: [f64; 3] = [60.0, 300.0, 900.0];
const EVERY_S: f64 = 3600.0;

/// Fits and searches the grid.
#[derive(Clone, Debug)]
pub struct BatchPlanner {
    known: Known,
}

/// BATCH as a controller; before its first fit each request runs alone.
#[must_use]
pub fn batch(known: &Known) -> Periodic<BatchPlanner> {
    let first = super::static_plans::best_unbatched(known).plan;
    Periodic::new(BatchPlanner { known: known.clone() }, first, FIRST_S.to_vec(), EVERY_S)
}

impl Planner for BatchPlanner {
    fn plan(&mut self, windows: &[WindowStats]) -> Option<Chosen> {
        let process = Mmpp::fit(windows)?;
        let model = TimedBatches::new(&self.known, &process);
        let best = grid(&model, 1.0 - self.known.slo_percentile)?;
        Some(Chosen { plan: model.plan(&best), concurrency: best.concurrency })
    }
}

/// The cheapest choice that keeps the objective; if none does, the one that misses it least.
pub(super) fn grid(model: &TimedBatches<'_>, allowed_late: f64) -> Option<TimedPlan> {
    let sizes = 0..model.sizes().len();
    let all = sizes.flat_map(|size| {
        model.bounds().flat_map(move |bound| {
            // Without batching there is nothing to wait for.
            let timeouts = if bound == 1 { 1 } else { model.timeouts() };
            (0..timeouts).map(move |timeout| model.evaluate(size, bound, timeout))
        })
    });
    all.min_by(|a, b| better(a, b, allowed_late))
}

/// Order of preference.
pub(super) fn better(a: &TimedPlan, b: &TimedPlan, allowed_late: f64) -> std::cmp::Ordering {
    let misses = |plan: &TimedPlan| plan.late_share > allowed_late;
    misses(a).cmp(&misses(b)).then_with(|| {
        if misses(a) {
            a.late_share.total_cmp(&b.late_share)
        } else {
            a.usd_per_request.total_cmp(&b.usd_per_request)
        }
    })
}
