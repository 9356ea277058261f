//! What the tuner did and why: every decision, with the numbers that it rested on.

use gateway_contract::Timestamp;
use serde::Serialize;

/// Where the tuner stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Too little is known to compute a plan: the configured one serves.
    #[default]
    Learning,
    /// The best known plan serves.
    Holding,
    /// A canary, or a plan on trial, runs.
    Exploring,
    /// A plan was given up; the one before serves again.
    RollingBack,
    /// Nothing usable is observed although there is traffic: the configured plan serves.
    Blind,
    /// An operator holds the plan.
    Frozen,
}

/// Who holds the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The policy chooses.
    #[default]
    Free,
    /// An operator keeps what was in force.
    Frozen,
    /// An operator's own plan serves.
    Pinned,
}

/// An operating point in few words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointSummary {
    /// Size bound of a batch, items.
    pub max_batch_size: u32,
    /// Longest wait, ms.
    pub max_queue_delay_ms: f64,
    /// By fill: largest fill, MiB, processes.
    pub rungs: Vec<(u32, u32, u32)>,
}

/// What a plan is expected to do under the present load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Expectation {
    /// Dollars per million requests.
    pub usd_per_million: f64,
    /// Standard deviation of the logarithm of that, from what is not known of the service time.
    pub ln_cost_std: f64,
    /// Latency at the objective's percentile, ms.
    pub latency_ms: f64,
    /// Share of requests expected outside the latency objective.
    pub late_share: f64,
    /// Items per batch.
    pub mean_fill: f64,
    /// Invocations in flight.
    pub concurrency: f64,
}

/// A plan with what is expected of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The plan.
    pub point: PointSummary,
    /// What it is expected to do.
    pub expected: Expectation,
}

/// Something that the tuner did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TunerEvent {
    /// When.
    #[serde(serialize_with = "as_seconds")]
    pub at: Timestamp,
    /// What.
    pub what: TunerAction,
}

fn as_seconds<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(at.as_nanos() as f64 / 1e9)
}

/// What the tuner did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum TunerAction {
    /// The load changed.
    ChangePoint {
        /// Windows ago.
        windows_ago: u32,
        /// Requests per second before and after, with the standard error of the latter.
        before_per_s: f64,
        /// After.
        after_per_s: f64,
        /// Standard error of `after_per_s`.
        after_standard_error_per_s: f64,
        /// How sure.
        probability: f64,
    },
    /// Another plan was put into force, or would have been (`observe`).
    Switched {
        /// The new plan's revision.
        revision: u64,
        /// Why.
        reason: SwitchReason,
        /// The plan and what is expected of it.
        chosen: Candidate,
        /// The plan before, as expected under the same load.
        before: Option<Candidate>,
        /// The next best.
        runner_up: Option<Candidate>,
    },
    /// The plan in force was given fresh service times, by which it closes batches.
    Refreshed {
        /// The new revision.
        revision: u64,
        /// Upper service time of one item and of a full batch, ms.
        upper_ms: (f64, f64),
    },
    /// A better plan is known, but not by enough.
    Kept {
        /// What the plan in force is expected to do.
        incumbent: Candidate,
        /// What was not taken.
        challenger: Candidate,
    },
    /// A canary, or a trial of a whole plan, began.
    TrialStarted {
        /// Counted from 1.
        trial: u64,
        /// What is tried.
        point: PointSummary,
        /// Expected improvement over the incumbent, as a share of its cost; `None`: not from a model.
        expected_gain: Option<f64>,
    },
    /// It ended.
    TrialEnded {
        /// Its number.
        trial: u64,
        /// What came of it.
        verdict: TrialVerdict,
        /// Batches that it ran.
        batches: u32,
        /// Dollars per million requests that it measured or implies; `None`: nothing was measured.
        usd_per_million: Option<f64>,
    },
    /// A plan was given up.
    RolledBack {
        /// The plan given up.
        from: u64,
        /// The plan in force again, as a new revision.
        to: u64,
        /// Why.
        reason: RollbackReason,
        /// Share of answered requests outside the objective since the switch.
        late_share: f64,
        /// Requests that it was judged on.
        requests: u64,
    },
    /// Service times moved together: the learned level follows.
    Drift {
        /// Factor against what was learned.
        factor: f64,
    },
    /// A size of memory proved too small for this many processes.
    MemoryFloor {
        /// Processes.
        process_count: u32,
        /// Smallest size still allowed, MiB.
        smallest_mib: u32,
    },
    /// Nothing usable is observed.
    Blind {
        /// Windows since the last usable observation.
        windows: u32,
    },
    /// No plan keeps the objective: the one with the least late share serves.
    Infeasible {
        /// Its expected late share.
        late_share: f64,
    },
    /// An operator's command took effect.
    Command {
        /// Which.
        command: &'static str,
    },
    /// Learned state was taken up, or dropped.
    State {
        /// What happened.
        what: &'static str,
    },
}

/// Why a plan was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchReason {
    /// Enough was learned to compute one.
    Learned,
    /// The load changed.
    ChangePoint,
    /// Service times, prices or limits changed what is best.
    Better,
    /// The plan in force is not expected to keep the objective any more.
    ObjectiveAtRisk,
    /// The configuration changed.
    Configuration,
    /// An operator asked.
    Operator,
    /// A guard returned to an earlier plan.
    Guard,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialVerdict {
    /// It ran its course.
    Measured,
    /// It proved unsafe and was stopped.
    Vetoed,
    /// A change-point, a new configuration or the budget ended it.
    Abandoned,
}

/// Why a plan was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackReason {
    /// Too many answers outside the objective.
    Late,
    /// Too dear against the plan before.
    Dear,
    /// Invocations failed.
    Failing,
}

impl TunerEvent {
    /// An event.
    #[must_use]
    pub fn new(at: Timestamp, what: TunerAction) -> Self {
        Self { at, what }
    }
}
