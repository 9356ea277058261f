//! What a report shows: plain values, as they are written to JSON.
//!
//! Deliberately absent: how any of it was simulated, and how it is drawn.

use serde::{Deserialize, Serialize};

/// A whole study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its name, for the head of the page.
    pub title: String,
    /// Program and version that made it.
    pub made_by: String,
    /// What was asked, as pairs of a name and a value to read.
    pub setup: Vec<(String, String)>,
    /// The objective.
    pub objective: Objective,
    /// Length of the traffic, seconds.
    pub seconds: f64,
    /// Requests per second, mean over the traffic.
    pub mean_requests_per_s: f64,
    /// Requests per second in its busiest minute.
    pub peak_requests_per_s: f64,
    /// Seeds that each policy ran with; curves show the first.
    pub seeds: Vec<u64>,
    /// CPU work of a million requests at the price of a vCPU-second, dollars: nothing on Lambda is cheaper.
    pub floor_usd_per_million: f64,
    /// Policies in the order of the table: the one that is asked about first.
    pub policies: Vec<PolicyReport>,
    /// The host that runs the gateway.
    pub gateway: Host,
    /// Against servers that are always on; `None` if it was not asked for.
    pub break_even: Option<BreakEven>,
    /// Prices and assumptions, each with its source and date.
    pub facts: Vec<Fact>,
}

/// The latency objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Latency that is promised, milliseconds.
    pub slo_ms: f64,
    /// Share of requests for which it is promised, 0.5 to 0.9999.
    pub percentile: f64,
}

/// A host that is always on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Instance type.
    pub name: String,
    /// Dollars per hour of one.
    pub usd_per_hour: f64,
    /// How many.
    pub count: u32,
}

impl Host {
    /// Dollars per month of 730 hours.
    #[must_use]
    pub fn usd_per_month(&self) -> f64 {
        self.usd_per_hour * f64::from(self.count) * HOURS_PER_MONTH
    }
}

/// Hours of a month, as AWS counts them.
pub const HOURS_PER_MONTH: f64 = 730.0;

/// What a policy is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one that is asked about.
    Chosen,
    /// Something that could be run instead.
    Baseline,
    /// Something that nobody can run: it knows the future.
    Bound,
}

/// One policy over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Its name in studies.
    pub name: String,
    /// For people.
    pub label: String,
    /// What it does, and its source.
    pub about: String,
    /// What it is here.
    pub role: Role,
    /// Whether it needs a host that forms batches.
    pub needs_gateway: bool,
    /// Over the seeds.
    pub figures: Figures,
    /// Of the first seed.
    pub detail: Detail,
}

/// Figures over the seeds. Dollars are Lambda's only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Dollars per million answered requests.
    pub usd_per_million: Spread,
    /// Of it, for the time of batches.
    pub duration_usd_per_million: Spread,
    /// Of it, the fee per invocation.
    pub fee_usd_per_million: Spread,
    /// Of it, cold starts and warm-up.
    pub cold_usd_per_million: Spread,
    /// Share of requests without an answer in time; shed and failed ones count.
    pub outside_slo_share: Spread,
    /// Median latency, milliseconds.
    pub p50_ms: Spread,
    /// Latency at the objective's percentile, milliseconds.
    pub at_percentile_ms: Spread,
    /// Items per invocation.
    pub mean_fill: Spread,
    /// Share of invocations that met a cold start.
    pub cold_share: Spread,
    /// Share of requests shed or failed.
    pub lost_share: Spread,
    /// Trials of other operating points.
    pub trials: Spread,
    /// Plans put in force, the first not counted.
    pub plan_changes: Spread,
}

/// A figure over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation between seeds; 0 for one seed.
    pub std: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of some values; all zero without any.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let Some(count) = Some(values.len() as f64).filter(|&count| count > 0.0) else {
            return Self::default();
        };
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Self {
            mean,
            std: (squares / (count - 1.0).max(1.0)).sqrt(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// One run in detail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// The traffic in steps of equal length.
    pub steps: Vec<Step>,
    /// Plans with the second from which each served.
    pub plans: Vec<PlanPoint>,
    /// Seconds at which the policy saw the load change.
    pub change_points_s: Vec<f64>,
    /// Latency in milliseconds that a share of the answered requests does not exceed: pairs, both ascending.
    pub latency: Vec<(f64, f64)>,
    /// Invocations by items in them, ascending.
    pub fills: Vec<(u32, u64)>,
}

/// Some seconds of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its beginning, seconds.
    pub from_s: f64,
    /// Its length, seconds.
    pub length_s: f64,
    /// Requests that arrived.
    pub requests: u64,
    /// Answered with a value.
    pub answered: u64,
    /// Of those, in time.
    pub within_slo: u64,
    /// Dollars of invocations that ended in it.
    pub usd: f64,
}

/// A plan as it is drawn: the rung that runs a full batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanPoint {
    /// In force from this second.
    pub from_s: f64,
    /// Items.
    pub max_batch_size: u32,
    /// Model processes per environment.
    pub process_count: u32,
    /// MiB.
    pub memory_mib: u32,
    /// Longest wait to fill a batch, milliseconds.
    pub max_queue_delay_ms: f64,
}

/// Cost by load: Lambda with the chosen policy, and servers that are always on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakEven {
    /// The curves, the chosen policy first.
    pub curves: Vec<CostCurve>,
    /// Where the chosen policy's curve crosses another.
    pub crossings: Vec<Crossing>,
}

/// Dollars per month by load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostCurve {
    /// For people.
    pub label: String,
    /// How it was computed.
    pub about: String,
    /// Requests per second (mean over the month), and dollars per month with all hosts.
    pub points: Vec<(f64, f64)>,
}

/// A load from which something else is cheaper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// The other curve.
    pub label: String,
    /// Requests per second, mean; `None`: within the loads looked at, the chosen policy is cheaper (or dearer) throughout.
    pub requests_per_s: Option<f64>,
    /// Which is cheaper below that load, or throughout.
    pub chosen_is_cheaper_below: bool,
}

/// A price or an assumption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What.
    pub name: String,
    /// Its value with its unit.
    pub value: String,
    /// Where it is from, and its date.
    pub source: String,
}
