//! What came of a run.

use gateway_contract::{ServiceOutcome, ServingPlan, WindowStats};
use gateway_policy::{BatchOutcome, Dispatch};
use optimizer_tuner::TunerEvent;

use super::attempt::Attempt;
use super::controller::{Controller, ControllerCounts};
use crate::lambda::ThrottleReason;
use crate::world::LatencyHistogram;

/// What came of a deployment.
pub struct DeploymentReport {
    /// By model.
    pub models: Vec<ModelReport>,
    /// When the last request was answered, seconds.
    pub ended_s: f64,
    /// Most invocations at a time, of all models.
    pub peak_in_flight: u32,
}

/// One window, or several that were merged.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRecord {
    /// What was counted. The last record holds what was answered after the last arrival.
    pub stats: WindowStats,
    /// Dollars that Lambda really billed for what ended in it, known to the gateway or not.
    pub usd: f64,
    /// Invocations that started an environment.
    pub cold_starts: u64,
    /// The plan in force at its end.
    pub revision: u64,
    /// What the controller did so far.
    pub counts: ControllerCounts,
}

/// Dollars, by what they were spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Running batches, INIT excluded.
    pub duration: f64,
    /// INIT of invocations that started an environment.
    pub init: f64,
    /// Fees of invocations.
    pub fees: f64,
    /// Environments that were warmed before a plan served, or started beside batches that waited: INIT and fee.
    pub warm_up: f64,
    /// No-op calls that kept environments.
    pub keeping: f64,
}

impl Spent {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.duration + self.init + self.fees + self.warm_up + self.keeping
    }
}

/// What came of one model.
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Windows, as the configuration asked.
    pub windows: Vec<WindowRecord>,
    /// Every plan that was in force, with the second from which it served.
    pub plans: Vec<(f64, ServingPlan)>,
    /// What its controller did, with the numbers that it rested on.
    pub events: Vec<TunerEvent>,
    /// What its controller did, counted.
    pub controller_counts: ControllerCounts,
    /// The controller, as it is at the end.
    pub controller: Box<dyn Controller>,
    /// Latencies of requests that were answered with values only.
    pub latency: LatencyHistogram,
    /// Batches that ran, by fill; retries and halves included.
    pub fills: Vec<u64>,
    /// Dollars.
    pub usd: Spent,
    /// Everything else.
    pub counts: Counts,
}

/// Counts of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests that arrived.
    pub requests: u64,
    /// Their items.
    pub items: u64,
    /// Refused at the door.
    pub shed: u64,
    /// Answered with a value for each item.
    pub answered: u64,
    /// Of those, within the latency objective.
    pub within_slo: u64,
    /// Ended without all values, timed-out ones included.
    pub failed: u64,
    /// Ended by their hard deadline.
    pub timed_out: u64,
    /// Left by their client before an answer.
    pub cancelled: u64,
    /// Admitted, and never answered: above 0 only by a defect of the engine.
    pub unanswered: u64,
    /// Batches sent, retries and halves included.
    pub batches: u64,
    /// Invocations that ran and are billed.
    pub invocations: u64,
    /// Of those, how many started an environment.
    pub cold_starts: u64,
    /// Environments warmed before a plan served, or started beside batches that waited.
    pub warmed: u64,
    /// No-op calls that found a warm environment.
    pub keep_calls: u64,
    /// Invocations refused, by [`ThrottleReason::index`].
    pub throttled: [u64; ThrottleReason::ALL.len()],
    /// Invocations without a connection, or refused for good.
    pub refused: u64,
    /// Invocations whose outcome the gateway could not know.
    pub unknown: u64,
    /// Invocations that ended in a function error, out of memory included.
    pub function_errors: u64,
    /// Invocations that ran out of memory.
    pub out_of_memory: u64,
    /// Invocations whose request or answer was too large.
    pub too_large: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Retries that the budget, the attempts or the time forbade.
    pub retries_denied: u64,
    /// Failed batches cut in two.
    pub bisected: u64,
    /// Seconds of invocations from dispatch to outcome, added up: divided by the time, the mean number in flight.
    pub in_flight_s: f64,
    /// GB-seconds billed.
    pub gb_seconds: f64,
}

impl Counts {
    /// Invocations refused by a limit.
    #[must_use]
    pub fn throttles(&self) -> u64 {
        self.throttled.iter().sum()
    }

    /// Requests that got an end that counts for the objective: answered, failed or shed; those that left do not.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.answered + self.failed + self.shed
    }
}

impl ModelReport {
    pub(super) fn new(name: String, controller: Box<dyn Controller>) -> Self {
        Self {
            name,
            windows: Vec::new(),
            plans: Vec::new(),
            events: Vec::new(),
            controller_counts: ControllerCounts::default(),
            controller,
            latency: LatencyHistogram::default(),
            fills: Vec::new(),
            usd: Spent::default(),
            counts: Counts::default(),
        }
    }

    /// The statistics of its windows.
    #[must_use]
    pub fn window_stats(&self) -> Vec<WindowStats> {
        self.windows.iter().map(|record| record.stats.clone()).collect()
    }

    /// Dollars per million answered requests; everything billed is in it.
    #[must_use]
    pub fn usd_per_million(&self) -> f64 {
        self.usd.total() / self.counts.answered.max(1) as f64 * 1e6
    }

    /// Share of requests that were answered within the objective; what was shed or failed was not. 1 if there was none.
    #[must_use]
    pub fn share_within_slo(&self) -> f64 {
        match self.counts.judged() {
            0 => 1.0,
            judged => self.counts.within_slo as f64 / judged as f64,
        }
    }

    /// Items per batch that ran.
    #[must_use]
    pub fn mean_fill(&self) -> f64 {
        let (batches, items) = self
            .fills
            .iter()
            .zip(0_u64..)
            .fold((0, 0), |(batches, items), (&count, fill)| (batches + count, items + count * fill));
        items as f64 / (batches as f64).max(1.0)
    }

    /// As [`between`] of the windows.
    #[must_use]
    pub fn between(&self, from_s: f64, to_s: f64) -> (f64, f64) {
        between(&self.windows, from_s, to_s)
    }
}

/// Dollars per million answered requests, and share of judged requests outside the objective, of the records that end after `from_s` and up to
/// `to_s`. As the gateway knew them.
#[must_use]
pub fn between(records: &[WindowRecord], from_s: f64, to_s: f64) -> (f64, f64) {
    let (mut usd, mut answered, mut within, mut failed) = (0.0, 0, 0, 0);
    for record in records {
        let end_s = record.stats.ended_at.as_nanos() as f64 / 1e9;
        if end_s > from_s && end_s <= to_s {
            usd += record.stats.cost_usd;
            answered += record.stats.answered;
            within += record.stats.within_slo;
            failed += record.stats.failed + record.stats.shed;
        }
    }
    let judged = (answered + failed).max(1) as f64;
    (usd / answered.max(1) as f64 * 1e6, 1.0 - within as f64 / judged)
}

impl std::fmt::Debug for ModelReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelReport")
            .field("name", &self.name)
            .field("usd", &self.usd)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DeploymentReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeploymentReport")
            .field("models", &self.models)
            .field("ended_s", &self.ended_s)
            .field("peak_in_flight", &self.peak_in_flight)
            .finish()
    }
}

impl ModelReport {
    /// A no-op invocation ran.
    pub(super) fn count_call(&mut self, is_cold: bool, usd: f64, gb_seconds: f64) {
        if is_cold {
            self.usd.warm_up += usd;
            self.counts.warmed += 1;
        } else {
            self.usd.keeping += usd;
            self.counts.keep_calls += 1;
        }
        self.counts.gb_seconds += gb_seconds;
    }

    /// A batch ended, `nanos` after it was sent.
    pub(super) fn count_batch(&mut self, dispatch: &Dispatch, attempt: &Attempt, nanos: u64) {
        let counts = &mut self.counts;
        counts.in_flight_s += nanos as f64 / 1e9;
        if let Some(reason) = attempt.throttle {
            counts.throttled[reason.index()] += 1;
        }
        match &attempt.outcome {
            BatchOutcome::Completed { .. } | BatchOutcome::Throttled { .. } => {}
            BatchOutcome::FunctionError => counts.function_errors += 1,
            BatchOutcome::TooLarge(_) => counts.too_large += 1,
            BatchOutcome::Unknown => counts.unknown += 1,
            BatchOutcome::Refused { .. } => counts.refused += 1,
        }
        counts.out_of_memory += u64::from(attempt.observation.outcome == ServiceOutcome::OutOfMemory);
        let Some(ran) = attempt.ran else { return };
        counts.invocations += 1;
        counts.cold_starts += u64::from(ran.is_cold);
        counts.gb_seconds += ran.gb_seconds;
        self.usd.duration += ran.duration_usd;
        self.usd.init += ran.init_usd;
        self.usd.fees += ran.fee_usd;
        let fill = dispatch.items as usize;
        if self.fills.len() <= fill {
            self.fills.resize(fill + 1, 0);
        }
        self.fills[fill] += 1;
    }
}
