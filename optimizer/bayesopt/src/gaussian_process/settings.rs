//! What goes into a Gaussian process and what comes out: plain data, checked where it is used.

use super::FitError;
use serde::{Deserialize, Serialize};

/// One observed value. Aggregate repeats before: their mean, and its variance as `noise_variance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Coordinates, best scaled to the unit cube: the priors of the length scales expect that.
    pub at: Vec<f64>,
    /// What was observed there.
    pub value: f64,
    /// Known sampling variance of the value, in its unit squared; 0 if unknown. It is added to the fitted one.
    pub noise_variance: f64,
}

/// What the process believes about one point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Posterior {
    /// Expected value.
    pub mean: f64,
    /// Variance of the latent function, above zero, without the noise of an observation.
    pub variance: f64,
}

/// The parameters of the process, in the unit of the observed values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hyperparameters {
    /// The constant mean.
    pub mean: f64,
    /// Variance of the latent function, above zero. More: less is believed about unobserved places.
    pub signal_variance: f64,
    /// One length for each coordinate, above zero. Larger: the value changes less along it.
    pub length_scales: Vec<f64>,
    /// Variance of an observation beyond its known one, at least zero.
    pub noise_variance: f64,
}

/// What the fit of the hyperparameters maximises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Estimate {
    /// The posterior, with priors that keep an irrelevant length scale from running away when data are few.
    #[default]
    Map,
    /// The likelihood alone.
    MaximumLikelihood,
}

/// Where the constant mean comes from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum MeanRule {
    /// Estimated together with the rest, drawn a little towards the mean of the observed values.
    #[default]
    Estimated,
    /// Given, in the unit of the observed values.
    Fixed(f64),
}

/// How hyperparameters are fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitSettings {
    /// What is maximised. Default: MAP.
    pub estimate: Estimate,
    /// Where the mean comes from. Default: estimated.
    pub mean: MeanRule,
    /// Fixed starting points of the search, 0 to 4 (0 only works with a warm start). Default 2. More: slower, and less
    /// likely to end in a local optimum; from 3 on, one more start for each coordinate, taken to be irrelevant.
    pub starts: usize,
    /// Most iterations of a start. Default 60; most searches end after 10 to 20.
    pub max_iterations: u64,
    /// Where to start first, say the last fit of a smaller data set. Default: none.
    pub warm_start: Option<Hyperparameters>,
    /// Prior median of the length scales. Default 0.8 (a unit cube).
    pub length_scale_median: f64,
    /// Prior median of the noise variance as a share of the variance of the values. Default 0.01.
    pub noise_share_median: f64,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self {
            estimate: Estimate::Map,
            mean: MeanRule::Estimated,
            starts: 2,
            max_iterations: 60,
            warm_start: None,
            length_scale_median: 0.8,
            noise_share_median: 0.01,
        }
    }
}

impl Hyperparameters {
    /// Checks the ranges, and that there is a length scale for each coordinate.
    pub(crate) fn validate(&self, dimension: usize) -> Result<(), FitError> {
        let broken = |name, value| Err(FitError::Hyperparameter { name, value });
        if self.length_scales.len() != dimension {
            return broken("length_scales.len", self.length_scales.len() as f64);
        }
        if !self.mean.is_finite() {
            return broken("mean", self.mean);
        }
        if !(self.signal_variance.is_normal() && self.signal_variance > 0.0) {
            return broken("signal_variance", self.signal_variance);
        }
        if !(self.noise_variance.is_finite() && self.noise_variance >= 0.0) {
            return broken("noise_variance", self.noise_variance);
        }
        match self.length_scales.iter().find(|scale| !(scale.is_normal() && **scale > 0.0)) {
            Some(scale) => broken("length_scale", *scale),
            None => Ok(()),
        }
    }
}

/// Checks that the observations can be learned from; answers their dimension.
pub(crate) fn validate(observations: &[Observation]) -> Result<usize, FitError> {
    let expected = observations.first().ok_or(FitError::NoObservations)?.at.len();
    for (index, observation) in observations.iter().enumerate() {
        let found = observation.at.len();
        if found != expected || found == 0 {
            return Err(FitError::Dimension { index, found, expected: expected.max(1) });
        }
        let finite = |field, value: f64| {
            if value.is_finite() { Ok(()) } else { Err(FitError::NotFinite { field, index, value }) }
        };
        finite("value", observation.value)?;
        finite("noise_variance", observation.noise_variance)?;
        observation.at.iter().try_for_each(|&coordinate| finite("at", coordinate))?;
        if observation.noise_variance < 0.0 {
            return Err(FitError::NegativeNoise { index, value: observation.noise_variance });
        }
    }
    Ok(expected)
}
