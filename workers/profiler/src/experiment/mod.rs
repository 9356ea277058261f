//! An experiment: which points of which models are measured, how often, and what that may cost.
//!
//! Parsed from TOML into validated values before anything is called; unknown keys are errors. Paths are relative to the file's folder.
//! Deliberately absent: what is measured, and in which order.

mod file;
mod points;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Connection;

pub use points::{Point, PointError};

/// Why an experiment cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No TOML, an unknown key or a wrong type; the text says where.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A value out of its range.
    #[error("`{key}` {reason}")]
    Value {
        /// The key with its table.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A point that cannot be.
    #[error("model `{model}`: {source}")]
    Point {
        /// The model.
        model: String,
        /// Why.
        source: PointError,
    },
}

impl ExperimentError {
    pub(crate) fn value(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Value { key: key.into(), reason: reason.into() }
    }
}

/// A validated experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Letters, digits, `-` and `_`: marks the versions that are published for it.
    pub name: String,
    /// Seed of order and inputs.
    pub seed: u64,
    /// How often each point runs.
    pub runs: Runs,
    /// What it may cost.
    pub budget: Budget,
    /// What this machine can do; beyond it points are simulated. `None`: everything is measured, as on AWS.
    pub machine: Option<Machine>,
    /// How to reach Lambda.
    pub connection: Connection,
    /// Whether the function runs on Arm: for the price only.
    pub is_arm: bool,
    /// The models, in the file's order.
    pub models: Vec<Model>,
}

/// How often each point runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Runs {
    /// Runs of a point at most, 1 to 10,000, default 20. More: narrower intervals, longer and dearer.
    pub per_point: u32,
    /// Share of them in fresh environments, 0 to 1, default 0.1.
    pub cold_share: f64,
    /// Runs before the warm ones of each visit that count for nothing, 0 to 100, default 1.
    pub warm_up: u32,
    /// Width of the 95 % interval of the warm mean, as a share of it, below which a point ends early; default 0.05, 0: never.
    pub stop_width: f64,
    /// Pause before each run, default 30 ms: more than a quota period, so that a run finds the quota of an idle environment.
    pub pause: Duration,
}

impl Runs {
    /// Cold runs of a point: at least one where the share is above 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most `per_point`")]
    pub fn cold(&self) -> u32 {
        (f64::from(self.per_point) * self.cold_share).ceil().min(f64::from(self.per_point)) as u32
    }

    /// Warm runs of a point at most.
    #[must_use]
    pub fn warm(&self) -> u32 {
        self.per_point - self.cold()
    }
}

/// What an experiment may cost, over all sessions that it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Dollars on Lambda; `None`: any.
    pub usd: Option<f64>,
    /// Time spent measuring; `None`: any.
    pub time: Option<Duration>,
}

/// What this machine can do truthfully.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Lambda vCPUs that it can grant at once: its cores over the local Lambda's `cpu_scale`.
    pub vcpus: f64,
    /// Invocations that it can run at once.
    pub concurrency: u32,
}

impl Machine {
    /// Whether a point needs no more than there is.
    #[must_use]
    pub fn can_run(&self, point: &Point) -> bool {
        let each = point.vcpus().min(f64::from(point.process_count.min(point.items)));
        point.concurrency <= self.concurrency && each * f64::from(point.concurrency) <= self.vcpus * 1.000_001
    }
}

/// A model of the experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// For tables, plots and the profile's file name.
    pub name: String,
    /// Function name or ARN.
    pub function: String,
    /// Its manifest.
    pub manifest: PathBuf,
    /// Where items are from; `None`: made up from the manifest.
    pub data: Option<Data>,
    /// Tokens of made-up texts, default 16.
    pub tokens: u32,
    /// What a batch is expected to take, for the estimate before anything is measured.
    pub expected: Expected,
    /// A profile of the simulator (a file, or the name of one that ships with it) to expect instead.
    pub expected_profile: Option<String>,
    /// Its points, each once, ascending.
    pub points: Vec<Point>,
}

/// A file with items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// `.jsonl` or `.csv`.
    pub path: PathBuf,
    /// Field or column of the model's only input; default: the input's own name.
    pub field: Option<String>,
}

/// A rough law of service time: only for estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// INIT on one vCPU.
    pub init_ms: f64,
    /// Of each busy process, on one vCPU.
    pub process_ms: f64,
    /// Of each item, on one vCPU.
    pub item_ms: f64,
    /// Whether the file said so; else these are guesses.
    pub is_given: bool,
}

impl Experiment {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// As [`ExperimentError`].
    pub fn from_file(path: &Path) -> Result<Self, ExperimentError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ExperimentError::Read { path: path.to_path_buf(), source })?;
        Self::from_toml(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Points of all models.
    #[must_use]
    pub fn point_count(&self) -> usize {
        self.models.iter().map(|model| model.points.len()).sum()
    }

    /// Whether a point is measured here, and not simulated.
    #[must_use]
    pub fn is_measured(&self, point: &Point) -> bool {
        self.machine.is_none_or(|machine| machine.can_run(point))
    }
}
