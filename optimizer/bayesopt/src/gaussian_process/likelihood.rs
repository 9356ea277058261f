//! The negative log marginal likelihood of the hyperparameters, its exact gradient, and the priors on it.
//!
//! *Rule:* ½ (y−m)ᵀ K⁻¹ (y−m) + ½ ln det K + ½ n ln 2π with K = v·C(l) + diag(known noise) + σ²·I (Rasmussen and
//! Williams 2006, equations 5.8 and 5.9), over standardised values. The constant mean m is profiled out: for each
//! K the best one is (1ᵀK⁻¹y) / (1ᵀK⁻¹1 + 1), the one added being its standard normal prior; at that optimum the
//! gradient by the other parameters is the one with m held fixed. MAP adds normal priors on the logarithms.
//!
//! *Why not friedrich's:* its `likelihood` takes the logarithm of the trace's terms instead of the determinant, and
//! its optimizer follows a wrong gradient; `docs/decisions/0003-gaussian-process.md` has the figures.
//!
//! Deliberately absent: the search (see `search`).

use super::kernel::{correlation, correlation_slope};
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use std::f64::consts::PI;

/// The cost where the covariance cannot be factored: finite, since the line search calculates with it.
pub(crate) const FORBIDDEN: f64 = 1e10;
/// Largest absolute logarithm of a hyperparameter (of standardised values) that is tried.
const LARGEST_LOG: f64 = 20.0;
/// Added to the diagonal, as a share of the signal variance, so that near duplicates can be factored.
pub(crate) const JITTER: f64 = 1e-8;

/// A normal law of the logarithm of a hyperparameter: its mean and its standard deviation.
pub(crate) type LogNormal = (f64, f64);

/// Priors on the logarithms of signal variance, length scales and noise variance, of standardised values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Priors {
    pub(crate) signal_variance: LogNormal,
    pub(crate) length_scale: LogNormal,
    pub(crate) noise_variance: LogNormal,
}

/// Standardised data of which the likelihood is taken.
#[derive(Debug, Clone)]
pub(crate) struct Likelihood<'a> {
    pub(crate) points: Vec<&'a [f64]>,
    pub(crate) values: DVector<f64>,
    pub(crate) known_noise: Vec<f64>,
    /// `None`: the mean is profiled out.
    pub(crate) fixed_mean: Option<f64>,
    /// `None`: maximum likelihood.
    pub(crate) priors: Option<Priors>,
}

/// The value at one parameter vector.
#[derive(Debug, Clone)]
pub(crate) struct Evaluation {
    /// Negative log posterior (or likelihood), without the constants of the priors.
    pub(crate) cost: f64,
    /// By the parameters `[ln v, ln l₁ … ln l_d, ln σ²]`.
    pub(crate) gradient: DVector<f64>,
    /// The mean that went with it.
    pub(crate) mean: f64,
}

impl Likelihood<'_> {
    /// Length of the parameter vector.
    pub(crate) fn parameter_count(&self) -> usize {
        self.points.first().map_or(0, |point| point.len()) + 2
    }

    /// Cost and gradient at `[ln v, ln l₁ … ln l_d, ln σ²]`; [`FORBIDDEN`] with a zero gradient where it has none.
    pub(crate) fn evaluate(&self, parameters: &DVector<f64>) -> Evaluation {
        let outside = parameters.iter().any(|p| !p.is_finite() || p.abs() > LARGEST_LOG);
        let evaluation = if outside { None } else { self.inside(parameters) };
        evaluation.filter(|e| e.cost.is_finite()).unwrap_or_else(|| Evaluation {
            cost: FORBIDDEN,
            gradient: DVector::zeros(parameters.len()),
            mean: 0.0,
        })
    }

    fn inside(&self, parameters: &DVector<f64>) -> Option<Evaluation> {
        let count = self.points.len();
        let dimension = self.parameter_count() - 2;
        let signal = parameters[0].exp();
        let noise = parameters[dimension + 1].exp();
        let scaled = self.scaled(parameters);
        let mut distances = DMatrix::zeros(count, count);
        let mut covariance = DMatrix::zeros(count, count);
        for column in 0..count {
            for row in column..count {
                let distance = squared_distance(&scaled, dimension, row, column);
                distances[(row, column)] = distance;
                covariance[(row, column)] = signal * correlation(distance);
            }
            covariance[(column, column)] += self.known_noise[column] + noise + JITTER * signal;
        }
        let factor = Cholesky::new(covariance)?;
        let mean = self.fixed_mean.unwrap_or_else(|| self.best_mean(&factor));
        let residuals = self.values.add_scalar(-mean);
        let weights = factor.solve(&residuals);
        let log_determinant = 2.0 * (0..count).map(|i| factor.l_dirty()[(i, i)].ln()).sum::<f64>();
        let mut cost = 0.5 * (residuals.dot(&weights) + log_determinant + count as f64 * (2.0 * PI).ln());
        if self.fixed_mean.is_none() {
            cost += 0.5 * mean * mean;
        }
        let inverse = factor.inverse();
        let mut gradient = DVector::zeros(dimension + 2);
        for column in 0..count {
            for row in column..count {
                let pairs = if row == column { 0.5 } else { 1.0 };
                let share = pairs * (inverse[(row, column)] - weights[row] * weights[column]);
                let distance = distances[(row, column)];
                gradient[0] += share * signal * correlation(distance);
                let slope = share * signal * correlation_slope(distance);
                for coordinate in 0..dimension {
                    let z = scaled[row * dimension + coordinate] - scaled[column * dimension + coordinate];
                    gradient[1 + coordinate] += slope * z * z;
                }
                if row == column {
                    gradient[0] += share * JITTER * signal;
                    gradient[dimension + 1] += share * noise;
                }
            }
        }
        if let Some(priors) = self.priors {
            cost += priors.add_to(parameters, &mut gradient);
        }
        Some(Evaluation { cost, gradient, mean })
    }

    /// Coordinates divided by their length scales, row by row.
    fn scaled(&self, parameters: &DVector<f64>) -> Vec<f64> {
        let inverse: Vec<f64> = parameters.iter().skip(1).map(|log| (-log).exp()).collect();
        self.points.iter().flat_map(|point| point.iter().zip(&inverse).map(|(x, scale)| x * scale)).collect()
    }

    /// The mean that maximises likelihood times its standard normal prior.
    fn best_mean(&self, factor: &Cholesky<f64, Dyn>) -> f64 {
        let ones = factor.solve(&DVector::from_element(self.points.len(), 1.0));
        ones.dot(&self.values) / (ones.sum() + 1.0)
    }
}

impl Priors {
    /// Adds the gradient of the negative log priors and returns their value.
    fn add_to(&self, parameters: &DVector<f64>, gradient: &mut DVector<f64>) -> f64 {
        let last = parameters.len() - 1;
        let mut cost = 0.0;
        for index in 0..=last {
            let (mean, deviation) = match index {
                0 => self.signal_variance,
                _ if index == last => self.noise_variance,
                _ => self.length_scale,
            };
            let z = (parameters[index] - mean) / deviation;
            cost += 0.5 * z * z;
            gradient[index] += z / deviation;
        }
        cost
    }
}

fn squared_distance(scaled: &[f64], dimension: usize, a: usize, b: usize) -> f64 {
    let (a, b) = (&scaled[a * dimension..][..dimension], &scaled[b * dimension..][..dimension]);
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Generator;

    #[test]
    fn gradient_meets_finite_differences() {
        let mut generator = Generator::from_seed(11);
        let points: Vec<Vec<f64>> = (0..25).map(|_| (0..3).map(|_| generator.uniform()).collect()).collect();
        let values = DVector::from_iterator(
            25,
            points.iter().map(|p| (4.0 * p[0]).sin() - p[1] + 0.1 * p[2]).map(|y| 2.0 * y),
        );
        let known_noise: Vec<f64> = (0..25).map(|_| 0.1 * generator.uniform()).collect();
        let priors =
            Priors { signal_variance: (0.5, 1.5), length_scale: (-0.2, 1.0), noise_variance: (-4.6, 2.0) };
        for (fixed_mean, priors) in [(None, Some(priors)), (None, None), (Some(0.2), None)] {
            let likelihood = Likelihood {
                points: points.iter().map(Vec::as_slice).collect(),
                values: values.clone(),
                known_noise: known_noise.clone(),
                fixed_mean,
                priors,
            };
            let at = DVector::from_vec(vec![0.3, -0.4, 0.2, 0.9, -3.0]);
            let analytic = likelihood.evaluate(&at).gradient;
            for index in 0..5 {
                let cost = |shift: f64| {
                    let mut moved = at.clone();
                    moved[index] += shift;
                    likelihood.evaluate(&moved).cost
                };
                let numeric = (cost(1e-5) - cost(-1e-5)) / 2e-5;
                assert!((analytic[index] - numeric).abs() < 1e-5, "{index}: {} {numeric}", analytic[index]);
            }
        }
    }
}
