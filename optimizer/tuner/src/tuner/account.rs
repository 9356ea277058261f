//! What was measured since a plan began, and what exploration has cost.

use std::time::Duration;

use gateway_contract::{ServiceTimeTable, WindowStats};

use crate::report::RealisedReport;
use crate::search::Point;

/// Measured under one plan and one load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Realised {
    pub(super) answered: f64,
    pub(super) within: f64,
    pub(super) failed: f64,
    pub(super) batches: f64,
    items: f64,
    cost_usd: f64,
    estimated_usd: f64,
    /// INIT of cold starts in `cost_usd`.
    init_usd: f64,
}

impl Realised {
    #[expect(clippy::cast_precision_loss, reason = "counts of one window are far below 2^53")]
    pub(super) fn add(&mut self, stats: &WindowStats, init_usd: f64) {
        self.answered += stats.answered as f64;
        self.within += stats.within_slo as f64;
        self.failed += stats.failed as f64;
        self.batches += stats.batches as f64;
        self.items += stats.batch_items as f64;
        // What exploration and measuring cost is not the plan's.
        self.cost_usd += stats.cost_usd - stats.canary_cost_usd - stats.hold_out_cost_usd;
        self.estimated_usd += stats.estimated_cost_usd;
        self.init_usd += init_usd;
    }

    /// Answered too late, or not at all.
    pub(super) fn late_share(&self) -> f64 {
        let ended = self.answered + self.failed;
        if ended > 0.0 { (self.answered - self.within + self.failed) / ended } else { 0.0 }
    }

    pub(super) fn usd_per_request(&self) -> Option<f64> {
        (self.answered > 0.0).then(|| self.cost_usd / self.answered)
    }

    /// Without the INIT of cold starts, of which few windows hold too few to compare.
    pub(super) fn warm_usd_per_request(&self) -> Option<f64> {
        (self.answered > 0.0).then(|| (self.cost_usd - self.init_usd).max(0.0) / self.answered)
    }

    pub(super) fn estimated_share(&self) -> f64 {
        if self.cost_usd > 0.0 { self.estimated_usd / self.cost_usd } else { 0.0 }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
    pub(super) fn report(&self) -> RealisedReport {
        RealisedReport {
            requests: self.answered as u64,
            usd_per_million: self.usd_per_request().unwrap_or(0.0) * 1e6,
            late_share: self.late_share(),
            mean_fill: if self.batches > 0.0 { self.items / self.batches } else { 0.0 },
        }
    }
}

/// What served before the plan in force, to return to.
#[derive(Clone, Debug)]
pub(super) struct Previous {
    pub(super) point: Point,
    /// The service times by which it closed its batches.
    pub(super) service_time_upper: ServiceTimeTable,
    /// What was measured of it.
    pub(super) realised: Realised,
    /// The speed of Lambda at that time.
    pub(super) drift_ln: f64,
}

/// Dollars of exploration, in all and over about the last hour.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    spent_usd: f64,
    hour_usd: f64,
}

impl Budget {
    pub(super) fn spend(&mut self, usd: f64) {
        self.spent_usd += usd.max(0.0);
        self.hour_usd += usd.max(0.0);
    }

    /// Time passes: what was spent an hour ago has faded to 1/e.
    pub(super) fn pass(&mut self, time: Duration) {
        self.hour_usd *= (-time.as_secs_f64() / 3600.0).exp();
    }

    pub(super) fn spent_usd(&self) -> f64 {
        self.spent_usd
    }

    pub(super) fn hour_usd(&self) -> f64 {
        self.hour_usd
    }
}
