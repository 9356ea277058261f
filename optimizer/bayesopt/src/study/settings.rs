//! What a study is told: settings, outcomes, and why something was refused. Plain data.

use crate::gaussian_process::FitError;
use crate::space::SpaceError;
use serde::{Deserialize, Serialize};

/// Settings of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StudySettings {
    /// Seed of every draw. Equal seeds and tells give equal asks.
    pub seed: u64,
    /// Name of the acquisition function in `acquisition::REGISTRY`. Default `constrained_expected_improvement`, which
    /// without constraints is expected improvement.
    pub acquisition: String,
    /// Trials of the space-filling first design, at least 1. Default 5. More: a better first model, fewer trials guided
    /// by it.
    pub initial_trials: usize,
    /// Constraints that every measurement comes with. Default 0.
    pub constraint_count: usize,
    /// Whether a tested point may be asked for again. Default false. Worth it when measurements are noisy and few
    /// points exist.
    pub may_repeat: bool,
    /// A space with at most this many points is searched exhaustively. Default 40,000. More: exact over larger spaces,
    /// and slower.
    pub lattice_cap: usize,
}

impl Default for StudySettings {
    fn default() -> Self {
        Self {
            seed: 0,
            acquisition: "constrained_expected_improvement".to_owned(),
            initial_trials: 5,
            constraint_count: 0,
            may_repeat: false,
            lattice_cap: 40_000,
        }
    }
}

/// A point to be tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// To tell the outcome by.
    pub id: u64,
    /// One value for each variable of the space.
    pub point: Vec<f64>,
}

/// What a trial measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The value to minimise.
    pub objective: f64,
    /// Known sampling variance of the objective, at least 0; 0 if unknown.
    #[serde(default)]
    pub noise_variance: f64,
    /// A value for each constraint; it holds at or below zero.
    #[serde(default)]
    pub constraints: Vec<f64>,
    /// Known sampling variance of each constraint; empty if unknown.
    #[serde(default)]
    pub constraint_noise_variances: Vec<f64>,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With a measurement.
    Measured(Measurement),
    /// Without one. The point is not asked for again, and the models take it to be as bad as the worst measured one.
    Failed,
}

/// A trial that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The trial's id.
    pub id: u64,
    /// What was tested.
    pub point: Vec<f64>,
    /// What came out.
    pub measurement: Measurement,
}

impl Measurement {
    /// A measurement without constraints and known noise.
    #[must_use]
    pub fn of(objective: f64) -> Self {
        Self {
            objective,
            noise_variance: 0.0,
            constraints: Vec::new(),
            constraint_noise_variances: Vec::new(),
        }
    }

    /// Whether all constraints were measured to hold.
    #[must_use]
    pub fn is_feasible(&self) -> bool {
        self.constraints.iter().all(|&value| value <= 0.0)
    }

    /// Checks that all numbers are finite, variances not below zero, and the constraints as many as expected.
    pub(crate) fn validate(&self, constraint_count: usize) -> Result<(), StudyError> {
        let found = self.constraints.len();
        let variances = self.constraint_noise_variances.len();
        if found != constraint_count || (variances != 0 && variances != found) {
            return Err(StudyError::ConstraintCount { found, variances, expected: constraint_count });
        }
        let finite = |field: &'static str, index: usize, value: f64, least: f64| {
            if value.is_finite() && value >= least {
                Ok(())
            } else {
                Err(StudyError::Number { field, index, value })
            }
        };
        finite("objective", 0, self.objective, f64::MIN)?;
        finite("noise_variance", 0, self.noise_variance, 0.0)?;
        for (index, &value) in self.constraints.iter().enumerate() {
            finite("constraints", index, value, f64::MIN)?;
        }
        for (index, &value) in self.constraint_noise_variances.iter().enumerate() {
            finite("constraint_noise_variances", index, value, 0.0)?;
        }
        Ok(())
    }
}

/// Why a study refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StudyError {
    /// The registry has no such acquisition function.
    #[error("no acquisition function is called `{name}`")]
    UnknownAcquisition {
        /// The name.
        name: String,
    },
    /// Every point that may be asked for was asked for.
    #[error("every allowed point has been tried")]
    Exhausted,
    /// No unfinished trial has this id.
    #[error("no unfinished trial has the id {id}")]
    UnknownTrial {
        /// The id.
        id: u64,
    },
    /// A number of an outcome is NaN, infinite, or a variance below zero.
    #[error("`{field}` {index} of the outcome is {value}")]
    Number {
        /// The field.
        field: &'static str,
        /// Position in the field, 0 if it is a single number.
        index: usize,
        /// What was found.
        value: f64,
    },
    /// An outcome has another number of constraints than the settings say.
    #[error("the outcome has {found} constraints and {variances} variances of them, expected {expected}")]
    ConstraintCount {
        /// Constraints found.
        found: usize,
        /// Variances found.
        variances: usize,
        /// Constraints expected.
        expected: usize,
    },
    /// A point is not one of the space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A model could not be made.
    #[error(transparent)]
    Fit(#[from] FitError),
}
