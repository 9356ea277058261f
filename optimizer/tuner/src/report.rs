//! What the tuner knows, for operators: the admin API's answer and the source of its metrics.

use serde::Serialize;

use crate::event::{Candidate, Hold, Phase, TunerEvent};

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TunerReport {
    /// Where it stands.
    pub phase: Phase,
    /// Who holds the plan.
    pub hold: Hold,
    /// Plan in force and what is expected of it under the present load; `None` before anything was learned.
    pub incumbent: Option<Candidate>,
    /// Revision of the plan in force.
    pub revision: u64,
    /// The plan that would be chosen without dead band or operator.
    pub recommended: Option<Candidate>,
    /// The present load.
    pub load: LoadReport,
    /// Measured since the plan in force began.
    pub realised: RealisedReport,
    /// Cost of the same load unbatched, each request alone on its cheapest memory, dollars per million requests, by formula.
    pub unbatched_usd_per_million: Option<f64>,
    /// The same by measurement: what items that ran alone in a warm environment cost; `None` until a few did.
    pub measured_unbatched_usd_per_million: Option<f64>,
    /// What was learned of the service time, by operating point.
    pub points: Vec<PointReport>,
    /// Trials begun, and operating points that exploration alone has tried.
    pub trials: u64,
    /// Change-points seen.
    pub change_points: u64,
    /// Plans given up.
    pub rollbacks: u64,
    /// Plans put into force.
    pub switches: u64,
    /// Dollars that exploration has cost beyond the incumbent.
    pub exploration_usd: f64,
    /// Ratio of the present service times to the learned ones.
    pub drift_factor: f64,
    /// Share of the cost of the present plan that rests on estimates.
    pub estimated_share: f64,
    /// The last events, oldest first.
    pub events: Vec<TunerEvent>,
}

/// The present load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Requests per second.
    pub requests_per_s: f64,
    /// Its standard error.
    pub standard_error_per_s: f64,
    /// Variance over mean of requests per window.
    pub dispersion: f64,
    /// Items per request.
    pub items_per_request: f64,
    /// Windows since the last change-point.
    pub windows: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RealisedReport {
    /// Answered requests.
    pub requests: u64,
    /// Dollars per million of them.
    pub usd_per_million: f64,
    /// Share answered outside the objective.
    pub late_share: f64,
    /// Items per batch.
    pub mean_fill: f64,
}

/// One learned operating point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PointReport {
    /// MiB.
    pub memory_mib: u32,
    /// Processes.
    pub process_count: u32,
    /// Items per batch.
    pub items: f64,
    /// Padded work units of the largest shard.
    pub shard_units: f64,
    /// Observed warm service time, ms.
    pub service_ms: f64,
    /// Predicted, ms.
    pub predicted_ms: f64,
    /// Standard deviation of the logarithm between invocations.
    pub ln_std: f64,
    /// Observations behind it, decayed.
    pub weight: f64,
    /// Whether exploration alone has brought them.
    pub explored: bool,
}
