//! What an experiment writes down: runs, and the invocations of each.

use serde::{Deserialize, Serialize};

use crate::Point;

/// What a run was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// In environments that a fresh version forces Lambda to make.
    Cold,
    /// In environments that have served before.
    Warm,
    /// To make environments warm; counts for nothing but the bill.
    WarmUp,
}

impl RunKind {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::WarmUp => "warm_up",
        }
    }
}

/// A run: as many invocations at once as the point's concurrency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// From 0, in the order of time.
    pub id: u64,
    /// The experiment's name of the model.
    pub model: String,
    /// The point.
    pub point: Point,
    /// What it was for.
    pub kind: RunKind,
    /// Computed by the simulator, not measured.
    #[serde(default)]
    pub simulated: bool,
    /// When it began, milliseconds since 1970 (UTC); 0 for a simulated one.
    pub started_ms: u64,
    /// From the first invocation sent to the last answer, microseconds.
    pub total_us: u64,
    /// Time that the experiment spent on it in all, with pause and publishing, milliseconds.
    pub spent_ms: u64,
    /// Its invocations, in the order they were sent.
    pub invocations: Vec<Invocation>,
}

/// One invocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Invocation {
    /// The version that ran.
    pub version: String,
    /// Whether it started its environment.
    pub cold: bool,
    /// INIT of a cold start, microseconds.
    pub init_us: Option<u64>,
    /// Duration as reported, without INIT, microseconds.
    pub duration_us: u64,
    /// Billed duration, milliseconds, with INIT where it is billed.
    pub billed_ms: u64,
    /// Wall time of the handler as the worker saw it, microseconds.
    pub handler_us: u64,
    /// From sending to the answer, microseconds.
    pub round_trip_us: u64,
    /// Tokenizing, summed over processes, microseconds.
    pub tokenize_us: u64,
    /// Reading prompts, summed over processes, microseconds; 0 for models that do not generate.
    #[serde(default)]
    pub prefill_us: u64,
    /// Tokens written by all processes; 0 for models that do not generate.
    #[serde(default)]
    pub generated_tokens: u64,
    /// Wall time inside the engine, of each process, microseconds.
    pub process_compute_us: Vec<u64>,
    /// CPU time of each process, microseconds.
    pub process_cpu_us: Vec<u64>,
    /// Items of each process.
    pub process_items: Vec<u32>,
    /// Work of the largest shard with padding, in the manifest's unit.
    pub shard_padded_units: u64,
    /// Largest memory that the environment has used so far, MiB.
    pub max_memory_used_mib: u32,
    /// Dollars, with the request's fee.
    pub cost_usd: f64,
    /// Why it gave no answer; then the times are unknown.
    pub error: Option<String>,
}

impl Run {
    /// Whether every invocation was answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.invocations.iter().all(|invocation| invocation.error.is_none())
    }

    /// Environments that it started.
    #[must_use]
    pub fn instances_started(&self) -> usize {
        self.invocations.iter().filter(|invocation| invocation.cold).count()
    }

    /// Whether it is what its kind says: a cold run all cold, a warm one without a single cold start.
    #[must_use]
    pub fn is_true_to_kind(&self) -> bool {
        let started = self.instances_started();
        self.is_answered()
            && match self.kind {
                // With several at once a quick answer may free its environment for one sent later.
                RunKind::Cold => started > 0,
                RunKind::Warm => started == 0,
                RunKind::WarmUp => false,
            }
    }

    /// Dollars.
    #[must_use]
    pub fn cost_usd(&self) -> f64 {
        self.invocations.iter().map(|invocation| invocation.cost_usd).sum()
    }

    /// The time that a point is judged by, milliseconds: the handler's, or with several at once that of all.
    #[must_use]
    pub fn judged_ms(&self) -> f64 {
        match self.invocations.as_slice() {
            [one] => one.handler_us as f64 / 1e3,
            _ => self.total_us as f64 / 1e3,
        }
    }
}
