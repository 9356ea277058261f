//! A Gaussian process: ARD Matérn-5/2 kernel, constant mean, a known noise for each observation beside a fitted one.
//!
//! *Problem:* learn a smooth function of a few variables from some dozens of noisy values, and say how sure one is.
//! *Rule:* friedrich holds the data, the prior and the kernel, and answers joint questions; the hyperparameters come
//! from our exact likelihood through argmin (`likelihood`, `search`); questions about many points go through a flat
//! predictor (`predictor`). *Bounds:* O(n³) time and O(n²) memory for n observations; meant for up to 500.
//! *First start:* one observation is enough, the priors then speak.
//! *Never a panic:* inputs are checked and the covariance is factored here, with growing jitter, before friedrich (which
//! would panic) sees it.
//!
//! Deliberately absent: other kernels, and aggregation of repeats.

mod error;
mod kernel;
mod likelihood;
mod predictor;
mod search;
mod settings;

pub use error::FitError;
pub use settings::{Estimate, FitSettings, Hyperparameters, MeanRule, Observation, Posterior};

use friedrich::gaussian_process::GaussianProcess as Container;
use friedrich::prior::ConstantPrior;
use kernel::{NoisyArdMatern52, correlation};
use likelihood::{JITTER, Likelihood, Priors};
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use predictor::Predictor;

/// Jitter is multiplied by this until the covariance can be factored …
const JITTER_GROWTH: f64 = 100.0;
/// … but is never a larger share of the signal variance than this.
const LARGEST_JITTER: f64 = 1e-2;
/// Prior median of the signal variance over the variance of the values, e^½: few points see less than all of it.
const SIGNAL_VARIANCE_PRIOR: (f64, f64) = (0.5, 1.5);
/// Standard deviation of the prior of a log length scale.
const LENGTH_SCALE_DEVIATION: f64 = 1.0;
/// Standard deviation of the prior of the log noise variance.
const NOISE_DEVIATION: f64 = 2.0;

/// A Gaussian process conditioned on observations.
pub struct GaussianProcess {
    hyperparameters: Hyperparameters,
    container: Container<NoisyArdMatern52, ConstantPrior>,
    predictor: Predictor,
    log_marginal_likelihood: f64,
    /// What was added to the diagonal to factor it, in the unit of the values squared.
    jitter: f64,
    count: usize,
}

impl std::fmt::Debug for GaussianProcess {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GaussianProcess")
            .field("hyperparameters", &self.hyperparameters)
            .field("log_marginal_likelihood", &self.log_marginal_likelihood)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl GaussianProcess {
    /// Fits the hyperparameters, then conditions on the observations. The values are standardised inside.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit(observations: &[Observation], settings: &FitSettings) -> Result<Self, FitError> {
        let dimension = settings::validate(observations)?;
        for (name, value) in [
            ("length_scale_median", settings.length_scale_median),
            ("noise_share_median", settings.noise_share_median),
        ] {
            if !(value.is_normal() && value > 0.0) {
                return Err(FitError::Hyperparameter { name, value });
            }
        }
        let (centre, scale) = standardisation(observations)?;
        let likelihood = Likelihood {
            points: observations.iter().map(|observation| observation.at.as_slice()).collect(),
            values: DVector::from_iterator(
                observations.len(),
                observations.iter().map(|observation| (observation.value - centre) / scale),
            ),
            known_noise: observations.iter().map(|o| o.noise_variance / scale / scale).collect(),
            fixed_mean: match settings.mean {
                MeanRule::Estimated => None,
                MeanRule::Fixed(mean) if mean.is_finite() => Some((mean - centre) / scale),
                MeanRule::Fixed(value) => return Err(FitError::Hyperparameter { name: "mean", value }),
            },
            priors: match settings.estimate {
                Estimate::MaximumLikelihood => None,
                Estimate::Map => Some(Priors {
                    signal_variance: SIGNAL_VARIANCE_PRIOR,
                    length_scale: (settings.length_scale_median.ln(), LENGTH_SCALE_DEVIATION),
                    noise_variance: (settings.noise_share_median.ln(), NOISE_DEVIATION),
                }),
            },
        };
        let warm_start = match &settings.warm_start {
            Some(hyperparameters) => {
                hyperparameters.validate(dimension)?;
                Some(standardised(hyperparameters, scale))
            }
            None => None,
        };
        let optimum = search::search(&likelihood, warm_start, settings.starts, settings.max_iterations)
            .ok_or(FitError::NotPositiveDefinite { count: observations.len() })?;
        let parameters = optimum.parameters;
        let hyperparameters = Hyperparameters {
            mean: centre + scale * optimum.evaluation.mean,
            signal_variance: parameters[0].exp() * scale * scale,
            length_scales: parameters.iter().skip(1).take(dimension).map(|log| log.exp()).collect(),
            noise_variance: parameters[dimension + 1].exp() * scale * scale,
        };
        Self::with_hyperparameters(observations, hyperparameters)
    }

    /// Conditions on the observations with given hyperparameters: one factorisation, no search.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn with_hyperparameters(
        observations: &[Observation],
        hyperparameters: Hyperparameters,
    ) -> Result<Self, FitError> {
        let dimension = settings::validate(observations)?;
        hyperparameters.validate(dimension)?;
        let inverse_length_scales: Vec<f64> =
            hyperparameters.length_scales.iter().map(|scale| scale.recip()).collect();
        let (factor, jitter) = factor(observations, &hyperparameters, &inverse_length_scales)?;
        let points: Vec<&[f64]> = observations.iter().map(|o| o.at.as_slice()).collect();
        let residuals: Vec<f64> = observations.iter().map(|o| o.value - hyperparameters.mean).collect();
        let not_positive_definite = FitError::NotPositiveDefinite { count: observations.len() };
        let log_determinant = 2.0 * (0..points.len()).map(|i| factor.l_dirty()[(i, i)].ln()).sum::<f64>();
        let predictor = Predictor::new(
            &points,
            residuals.clone(),
            hyperparameters.signal_variance,
            hyperparameters.mean,
            inverse_length_scales.clone(),
            &factor,
        )
        .ok_or(not_positive_definite)?;
        let misfit: f64 =
            predictor.weights_of(&residuals).iter().zip(&residuals).map(|(weight, r)| weight * r).sum();
        let constant = points.len() as f64 * (2.0 * std::f64::consts::PI).ln();
        let kernel =
            NoisyArdMatern52 { signal_variance: hyperparameters.signal_variance, inverse_length_scales };
        let rows: Vec<Vec<f64>> = observations
            .iter()
            .enumerate()
            .map(|(index, observation)| {
                let noise = observation.noise_variance + hyperparameters.noise_variance + jitter;
                NoisyArdMatern52::observation_row(&observation.at, noise, (index + 1) as f64)
            })
            .collect();
        let values: Vec<f64> = observations.iter().map(|observation| observation.value).collect();
        let prior = ConstantPrior::new(hyperparameters.mean);
        // The substitute never comes into play after the factorisation above; without it friedrich could panic.
        let substitute = Some(jitter.max(f64::MIN_POSITIVE));
        Ok(Self {
            log_marginal_likelihood: -0.5 * (misfit + log_determinant + constant),
            container: Container::new(prior, kernel, 0.0, substitute, rows, values),
            predictor,
            jitter,
            count: observations.len(),
            hyperparameters,
        })
    }

    /// Conditions on one more observation with the same hyperparameters, in O(n²). The likelihood that
    /// [`Self::log_marginal_likelihood`] tells stays the one of the first observations.
    ///
    /// # Errors
    /// See [`FitError`]; the process is then unchanged.
    pub fn extend(&mut self, observation: &Observation) -> Result<(), FitError> {
        let found = settings::validate(std::slice::from_ref(observation))?;
        let expected = self.hyperparameters.length_scales.len();
        if found != expected {
            return Err(FitError::Dimension { index: self.count, found, expected });
        }
        let noise = observation.noise_variance + self.hyperparameters.noise_variance + self.jitter;
        if !self.predictor.grow(&observation.at, observation.value - self.hyperparameters.mean, noise) {
            return Err(FitError::NotPositiveDefinite { count: self.count + 1 });
        }
        self.count += 1;
        let row = NoisyArdMatern52::observation_row(&observation.at, noise, self.count as f64);
        self.container.add_samples(&vec![row], &vec![observation.value]);
        Ok(())
    }

    /// What is believed about one point. A point of another dimension, or with a coordinate that is not finite, is
    /// answered by the prior: nothing is known there.
    #[must_use]
    pub fn predict(&self, at: &[f64]) -> Posterior {
        let prior =
            Posterior { mean: self.hyperparameters.mean, variance: self.hyperparameters.signal_variance };
        self.predictor.predict(&[at]).first().copied().unwrap_or(prior)
    }

    /// [`Self::predict`] for many points at once, in blocks: the way to fill a table of thousands of points.
    #[must_use]
    pub fn predict_many<P: AsRef<[f64]>>(&self, at: &[P]) -> Vec<Posterior> {
        self.predictor.predict(at)
    }

    /// Means and joint covariance of several points, for drawing functions from the posterior. The covariance is
    /// symmetric and, but for rounding, positive semi-definite.
    ///
    /// # Errors
    /// [`FitError::Dimension`] or [`FitError::NotFinite`] for a point that cannot be placed.
    pub fn joint_posterior(&self, at: &[Vec<f64>]) -> Result<(Vec<f64>, DMatrix<f64>), FitError> {
        let expected = self.hyperparameters.length_scales.len();
        for (index, point) in at.iter().enumerate() {
            if point.len() != expected {
                return Err(FitError::Dimension { index, found: point.len(), expected });
            }
            if let Some(&value) = point.iter().find(|x| !x.is_finite()) {
                return Err(FitError::NotFinite { field: "at", index, value });
            }
        }
        if at.is_empty() {
            return Ok((Vec::new(), DMatrix::zeros(0, 0)));
        }
        let rows: Vec<Vec<f64>> = at.iter().map(|point| NoisyArdMatern52::question_row(point)).collect();
        Ok((self.container.predict(&rows), self.container.predict_covariance(&rows)))
    }

    /// For each point, its means under several sets of values at the observed points (one list a set) and the
    /// variance that they share: the process as it would be had it seen those values.
    pub(crate) fn predict_under<P: AsRef<[f64]>>(
        &self,
        at: &[P],
        values: &[Vec<f64>],
        answer: impl FnMut(&[f64], f64),
    ) {
        let weights: Vec<Vec<f64>> = values
            .iter()
            .map(|values| {
                let residuals: Vec<f64> = values.iter().map(|v| v - self.hyperparameters.mean).collect();
                self.predictor.weights_of(&residuals)
            })
            .collect();
        self.predictor.predict_with(at, &weights, answer);
    }

    /// The hyperparameters, in the unit of the values.
    #[must_use]
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyperparameters
    }

    /// Natural logarithm of the density of the observed values, in their unit.
    #[must_use]
    pub fn log_marginal_likelihood(&self) -> f64 {
        self.log_marginal_likelihood
    }

    /// Fitted noise variance of an observation beyond its known one: add it to a posterior where a predictive band is
    /// meant.
    #[must_use]
    pub fn noise_variance(&self) -> f64 {
        self.hyperparameters.noise_variance
    }

    /// Observations that the process is conditioned on.
    #[must_use]
    pub fn observation_count(&self) -> usize {
        self.count
    }
}

/// Mean and standard deviation of the values. Constant values are scaled by their size instead.
fn standardisation(observations: &[Observation]) -> Result<(f64, f64), FitError> {
    let count = observations.len() as f64;
    let centre = observations.iter().map(|o| o.value / count).sum::<f64>();
    let variance = observations.iter().map(|o| (o.value - centre) * (o.value - centre) / count).sum::<f64>();
    if !(centre.is_finite() && variance.is_finite()) {
        return Err(FitError::SpreadTooWide);
    }
    let rounding = 1e-14 * centre.abs();
    let scale = [variance.sqrt(), centre.abs(), 1.0]
        .into_iter()
        .find(|scale| *scale > rounding && (scale * scale).is_normal())
        .unwrap_or(1.0);
    // The largest signal variance that the search may try must still be a number.
    if (scale * scale * 1e9).is_finite() { Ok((centre, scale)) } else { Err(FitError::SpreadTooWide) }
}

/// The parameter vector of the search for given hyperparameters.
fn standardised(hyperparameters: &Hyperparameters, scale: f64) -> DVector<f64> {
    let variance = scale * scale;
    let mut logs = vec![hyperparameters.signal_variance / variance];
    logs.extend(&hyperparameters.length_scales);
    logs.push(hyperparameters.noise_variance / variance);
    // Inside the bounds of the likelihood, or the first evaluation would already be forbidden.
    DVector::from_iterator(logs.len(), logs.iter().map(|value| value.ln().clamp(-15.0, 15.0)))
}

/// The Cholesky factor of the noisy covariance, and the jitter that it took.
fn factor(
    observations: &[Observation],
    hyperparameters: &Hyperparameters,
    inverse_length_scales: &[f64],
) -> Result<(Cholesky<f64, Dyn>, f64), FitError> {
    let count = observations.len();
    let signal = hyperparameters.signal_variance;
    let mut covariance = DMatrix::zeros(count, count);
    for column in 0..count {
        for row in column..count {
            let pair = observations[row].at.iter().zip(&observations[column].at);
            let scaled = pair.zip(inverse_length_scales).map(|((a, b), scale)| (a - b) * scale);
            covariance[(row, column)] = signal * correlation(scaled.map(|z| z * z).sum());
        }
        covariance[(column, column)] += observations[column].noise_variance + hyperparameters.noise_variance;
    }
    let mut share = JITTER;
    while share <= LARGEST_JITTER {
        let mut lifted = covariance.clone();
        (0..count).for_each(|i| lifted[(i, i)] += share * signal);
        if let Some(factor) = Cholesky::new(lifted) {
            return Ok((factor, share * signal));
        }
        share *= JITTER_GROWTH;
    }
    Err(FitError::NotPositiveDefinite { count })
}
