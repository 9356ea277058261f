//! Why a Gaussian process could not be made.

/// Why a Gaussian process could not be made. Each variant names the input to repair.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// There was nothing to learn from.
    #[error("no observation was given")]
    NoObservations,
    /// Observations must all have as many coordinates as the first one, and at least one.
    #[error("observation {index} has {found} coordinates, expected {expected}")]
    Dimension {
        /// Position in the slice of observations.
        index: usize,
        /// Coordinates of this observation.
        found: usize,
        /// Coordinates of the first observation, or of the hyperparameters.
        expected: usize,
    },
    /// A number is NaN or infinite.
    #[error("`{field}` of observation {index} is {value}, not a finite number")]
    NotFinite {
        /// The field of the observation.
        field: &'static str,
        /// Position in the slice of observations.
        index: usize,
        /// What was found.
        value: f64,
    },
    /// A known noise variance is below zero.
    #[error("`noise_variance` of observation {index} is {value}, below zero")]
    NegativeNoise {
        /// Position in the slice of observations.
        index: usize,
        /// What was found.
        value: f64,
    },
    /// The values are so large or so far apart that their variance overflows.
    #[error("the values spread too far for their variance to be a finite number")]
    SpreadTooWide,
    /// A hyperparameter, or a setting of the fit, is outside its range.
    #[error("hyperparameter `{name}` is {value}, outside its range")]
    Hyperparameter {
        /// The hyperparameter.
        name: &'static str,
        /// What was found.
        value: f64,
    },
    /// The covariance matrix could not be factored, even with the largest jitter.
    #[error("the covariance matrix of {count} observations is not positive definite")]
    NotPositiveDefinite {
        /// Number of observations.
        count: usize,
    },
}
