//! What one run came to: kept as a line of JSON, so that a study can be taken up again.

use optimizer_tuner::TunerAction;
use serde::{Deserialize, Serialize};

use super::cells::Cell;
use crate::deployment::ModelReport;
use crate::report::data::{Detail, PlanPoint, Step};

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// [`Cell::key`].
    pub key: String,
    /// Requests that arrived.
    pub requests: u64,
    /// Answered with a value.
    pub answered: u64,
    /// Of those, in time.
    pub within_slo: u64,
    /// Shed or failed.
    pub lost: u64,
    /// Invocations that ran.
    pub invocations: u64,
    /// Of those, cold.
    pub cold_starts: u64,
    /// Dollars of warm batches' time.
    pub duration_usd: f64,
    /// Dollars of fees.
    pub fee_usd: f64,
    /// Dollars of INIT and warm-up.
    pub cold_usd: f64,
    /// Median latency, milliseconds.
    pub p50_ms: f64,
    /// Latency at the objective's percentile, milliseconds.
    pub at_percentile_ms: f64,
    /// Items per invocation.
    pub mean_fill: f64,
    /// Trials.
    pub trials: u64,
    /// Plans after the first.
    pub plan_changes: u64,
    /// Curves; of the first seed only.
    pub detail: Option<Detail>,
}

impl CellRecord {
    /// Dollars per million answered requests.
    #[must_use]
    pub fn usd_per_million(&self) -> f64 {
        self.per_million(self.duration_usd + self.fee_usd + self.cold_usd)
    }

    pub(super) fn per_million(&self, usd: f64) -> f64 {
        usd / self.answered.max(1) as f64 * 1e6
    }

    /// Share of answered, shed and failed requests that were not answered in time; 0 if there was none.
    #[must_use]
    pub fn outside_slo_share(&self) -> f64 {
        match self.answered + self.lost {
            0 => 0.0,
            judged => 1.0 - self.within_slo as f64 / judged as f64,
        }
    }

    /// `seconds`: length of the traffic. Curves are kept only if `has_detail`.
    pub(super) fn of(
        cell: &Cell,
        report: &ModelReport,
        percentile: f64,
        seconds: f64,
        has_detail: bool,
    ) -> Self {
        let (counts, usd) = (&report.counts, &report.usd);
        let quantile = |share| if counts.answered == 0 { 0.0 } else { report.latency.quantile(share) * 1e3 };
        let plans = plan_points(report);
        Self {
            key: cell.key(),
            requests: counts.requests,
            answered: counts.answered,
            within_slo: counts.within_slo,
            lost: counts.shed + counts.failed,
            invocations: counts.invocations,
            cold_starts: counts.cold_starts,
            duration_usd: usd.duration,
            fee_usd: usd.fees,
            cold_usd: usd.init + usd.warm_up,
            p50_ms: quantile(0.5),
            at_percentile_ms: quantile(percentile),
            mean_fill: report.mean_fill(),
            trials: report.controller_counts.trials,
            plan_changes: plans.len().saturating_sub(1) as u64,
            detail: has_detail.then(|| detail(report, plans, seconds)),
        }
    }
}

/// Plans that differ in what is drawn; a refreshed closing table alone is no change.
fn plan_points(report: &ModelReport) -> Vec<PlanPoint> {
    let mut points: Vec<PlanPoint> = Vec::new();
    for (from_s, plan) in &report.plans {
        let Some(rung) = plan.rungs.last() else { continue };
        let point = PlanPoint {
            from_s: *from_s,
            max_batch_size: plan.max_batch_size,
            process_count: rung.process_count,
            memory_mib: rung.memory_mib.0,
            max_queue_delay_ms: plan.max_queue_delay.as_secs_f64() * 1e3,
        };
        let is_same = |last: &PlanPoint| PlanPoint { from_s: point.from_s, ..*last } == point;
        if !points.last().is_some_and(is_same) {
            points.push(point);
        }
    }
    points
}

fn detail(report: &ModelReport, plans: Vec<PlanPoint>, seconds: f64) -> Detail {
    let mut from_s = 0.0;
    let mut steps: Vec<Step> = Vec::new();
    for record in &report.windows {
        let to_s = record.stats.ended_at.as_nanos() as f64 / 1e9;
        let stats = &record.stats;
        match steps.last_mut() {
            // What is answered after the last arrival belongs to the last step.
            Some(last) if from_s >= seconds * (1.0 - 1e-9) => {
                last.answered += stats.answered;
                last.within_slo += stats.within_slo;
                last.usd += record.usd;
            }
            Some(_) | None => steps.push(Step {
                from_s,
                length_s: to_s - from_s,
                requests: stats.requests,
                answered: stats.answered,
                within_slo: stats.within_slo,
                usd: record.usd,
            }),
        }
        from_s = to_s;
    }
    let change_points =
        report.events.iter().filter(|event| matches!(event.what, TunerAction::ChangePoint { .. }));
    let fills = (0_u32..).zip(&report.fills).filter(|(items, count)| *items > 0 && **count > 0);
    Detail {
        steps,
        plans,
        change_points_s: change_points.map(|event| event.at.as_nanos() as f64 / 1e9).collect(),
        latency: curve(report),
        fills: fills.map(|(items, &count)| (items, count)).collect(),
    }
}

/// Latency at shares from 0.1 % to 99.99 %, closer together in the tail.
fn curve(report: &ModelReport) -> Vec<(f64, f64)> {
    if report.counts.answered == 0 {
        return Vec::new();
    }
    let body = (1..=98).map(|percent| f64::from(percent) / 100.0);
    // 99 %, 99.2 % … 99.99 %: evenly on the logarithm of what is left.
    let tail = (0..=20).map(|n| 1.0 - 0.015 * 10_f64.powf(-f64::from(n) / 9.0));
    std::iter::once(0.001)
        .chain(body)
        .chain(tail)
        .map(|share| (report.latency.quantile(share) * 1e3, share))
        .collect()
}
