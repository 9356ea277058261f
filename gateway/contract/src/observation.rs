//! What the shell tells the control plane: what arrived in a window, and what each invocation took.

use std::time::Duration;

use crate::{Mebibytes, PlanRevision, Timestamp};

/// Arrivals and answers of one model during one window of fixed length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowStats {
    /// End of the window.
    pub ended_at: Timestamp,
    /// Its length.
    pub length: Duration,
    /// Requests that arrived, shed ones included.
    pub requests: u64,
    /// Their items.
    pub items: u64,
    /// Sum over requests of items², for the spread of request sizes.
    pub items_squared: u64,
    /// Arrivals in short bins, for burstiness at the time scale of a batch.
    pub bins: BinStats,
    /// Requests answered with a value.
    pub answered: u64,
    /// Of those, within the latency objective.
    pub within_slo: u64,
    /// Requests refused at the door.
    pub shed: u64,
    /// Requests that ended without a value after they were admitted.
    pub failed: u64,
    /// Sum of the latencies of answered requests, seconds.
    pub latency_sum_s: f64,
    /// Latency of answered requests at the objective's percentile, if any was answered.
    pub latency_at_percentile: Option<Duration>,
    /// Batches that ended.
    pub batches: u64,
    /// Their items.
    pub batch_items: u64,
    /// Batches that were throttled.
    pub throttled: u64,
    /// Dollars of all invocations that ended, failed ones included.
    pub cost_usd: f64,
    /// Of that, what rests on estimates because no REPORT line came.
    pub estimated_cost_usd: f64,
    /// Of `cost_usd`, what canary batches cost.
    pub canary_cost_usd: f64,
    /// Of `cost_usd`, what items that ran alone to be measured cost.
    pub hold_out_cost_usd: f64,
    /// Of those items, the ones that completed in a warm environment.
    pub warm_hold_outs: u64,
    /// What these cost, dollars.
    pub warm_hold_out_cost_usd: f64,
    /// Work units of arrived items as workers reported them, padding not counted; 0 if none was reported.
    pub work_units: u64,
}

/// Moments of the number of requests per bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BinStats {
    /// Length of a bin.
    pub length: Duration,
    /// Bins in the window.
    pub bins: u32,
    /// Sum of the squared counts; their sum is the window's `requests`.
    pub squared: u64,
}

/// What one invocation took and cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceObservation {
    /// When its outcome was known.
    pub at: Timestamp,
    /// Plan that formed the batch.
    pub revision: PlanRevision,
    /// Whether it ran on the plan's canary.
    pub is_canary: bool,
    /// Whether it ran alone to be measured.
    pub is_hold_out: bool,
    /// How it ended.
    pub outcome: ServiceOutcome,
    /// Items in the batch.
    pub items: u32,
    /// Memory of the version that ran.
    pub memory_mib: Mebibytes,
    /// Model processes asked for.
    pub process_count: u32,
    /// Padded work units of the largest shard (rows × longest row); 0 if the worker did not say.
    pub shard_padded_units: u64,
    /// Work units of all items, padding not counted; 0 if the worker did not say.
    pub work_units: u64,
    /// Wall time of the worker's handler, INIT excluded.
    pub handler: Duration,
    /// Billed duration, INIT included; whole milliseconds.
    pub billed: Duration,
    /// No REPORT line came: `billed` is an estimate.
    pub billed_is_estimate: bool,
    /// From dispatch to outcome as the gateway saw it.
    pub round_trip: Duration,
    /// INIT, if this invocation started a sandbox.
    pub init: Option<Duration>,
    /// Largest memory that the sandbox has used so far, if reported.
    pub max_memory_used: Option<Mebibytes>,
    /// Processes that died, hung or outgrew their share during it.
    pub process_restarts: u32,
}

impl ServiceObservation {
    /// Whether it says what an item alone costs: warm, completed, billed by a REPORT line.
    #[must_use]
    pub fn is_warm_hold_out(&self) -> bool {
        self.is_hold_out
            && self.outcome == ServiceOutcome::Completed
            && self.init.is_none()
            && !self.billed_is_estimate
    }
}

/// How an invocation ended, as far as it teaches something about an operating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceOutcome {
    /// Items were answered.
    Completed,
    /// Out of memory, by Lambda or by the worker's own guard.
    OutOfMemory,
    /// The function failed or timed out otherwise.
    FunctionError,
    /// It was throttled, refused or lost: nothing ran, or nothing is known.
    NotRun,
}
