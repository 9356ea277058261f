//! Noisy expected improvement, with constraints.
//!
//! *Problem:* with noisy measurements nobody knows which tested point is the best, nor which ones are feasible, and
//! plain expected improvement pretends to. *Rule:* draw the noise-free values of all tested points, objective and
//! constraints, from their joint posterior; in each draw the incumbent is known and expected feasible improvement has
//! its closed form under the process conditioned on the drawn, noise-free values; average over the draws. Draws are a
//! Latin hypercube of normals, which averages far better than independent ones. The conditioned processes of all draws
//! share covariance and factor, so a draw costs O(n²), not O(n³). *Why not improvement over the best posterior mean:*
//! it counts improvement that a retest alone would bring. *Bounds:* 32 draws; tested points count once each. *First
//! start:* a draw without a feasible point takes its worst drawn value as incumbent, so that feasibility decides.
//!
//! *Reference:* Letham et al., "Constrained Bayesian optimization with noisy experiments" (2019).

use super::{AcquisitionFunction, Belief, ln_expected_improvement};
use crate::design::latin_hypercube;
use crate::gaussian_process::{FitError, GaussianProcess, Hyperparameters, Observation, Posterior};
use crate::normal;
use crate::random::Generator;
use nalgebra::{Cholesky, DVector};

/// Default of [`NoisyExpectedImprovement::draws`].
const DEFAULT_DRAWS: usize = 32;
/// Noise left in the noise-free process, as a share of the signal variance: close points could not be told apart.
const REMAINING_NOISE: f64 = 1e-6;

/// Expected feasible improvement, averaged over what the tested points may really be worth.
#[derive(Debug, Clone, Copy)]
pub struct NoisyExpectedImprovement {
    /// Draws of the tested points' values, at least 1. Default 32. More: smoother scores, in proportion slower.
    pub draws: usize,
}

impl Default for NoisyExpectedImprovement {
    fn default() -> Self {
        Self { draws: DEFAULT_DRAWS }
    }
}

/// Draws of one process at the tested points, and the process as if it had seen them without noise.
struct Fantasies {
    /// One list of values for each draw.
    values: Vec<Vec<f64>>,
    noise_free: GaussianProcess,
}

impl Fantasies {
    fn draw(
        process: &GaussianProcess,
        at: &[Vec<f64>],
        draws: usize,
        generator: &mut Generator,
    ) -> Result<Self, FitError> {
        let known = process.hyperparameters();
        let remaining = REMAINING_NOISE * known.signal_variance;
        let (means, mut covariance) = process.joint_posterior(at)?;
        (0..at.len()).for_each(|i| covariance[(i, i)] += remaining);
        let not_positive_definite = FitError::NotPositiveDefinite { count: at.len() };
        let factor = Cholesky::new(covariance).ok_or(not_positive_definite)?.unpack();
        let values: Vec<Vec<f64>> = latin_hypercube(draws.max(1), at.len(), generator)
            .into_iter()
            .map(|uniform| {
                let normals: Vec<f64> = uniform.into_iter().map(normal::quantile).collect();
                let correlated = &factor * DVector::from_vec(normals);
                means.iter().zip(&correlated).map(|(mean, deviation)| mean + deviation).collect()
            })
            .collect();
        // Their values do not matter: only covariances are taken from this process.
        let observations: Vec<Observation> = at
            .iter()
            .map(|at| Observation { at: at.clone(), value: known.mean, noise_variance: 0.0 })
            .collect();
        let noise_free = Hyperparameters { noise_variance: remaining, ..known.clone() };
        Ok(Self { values, noise_free: GaussianProcess::with_hyperparameters(&observations, noise_free)? })
    }

    /// Adds `term(draw, posterior)` to each candidate's sum for each draw; `sums` holds a candidate's draws together.
    fn add_terms(&self, candidates: &[Vec<f64>], sums: &mut [f64], term: impl Fn(usize, Posterior) -> f64) {
        let mut of_candidate = sums.chunks_exact_mut(self.values.len());
        self.noise_free.predict_under(candidates, &self.values, |means, variance| {
            for sums in of_candidate.by_ref().take(1) {
                for (draw, (sum, &mean)) in sums.iter_mut().zip(means).enumerate() {
                    *sum += term(draw, Posterior { mean, variance });
                }
            }
        });
    }
}

/// The tested points, each once.
fn distinct(tested: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut kept: Vec<Vec<f64>> = Vec::with_capacity(tested.len());
    for point in tested {
        if !kept.contains(point) {
            kept.push(point.clone());
        }
    }
    kept
}

/// The best feasible drawn value, or the worst drawn one if none is feasible.
fn incumbent(draw: usize, objective: &Fantasies, constraints: &[Fantasies]) -> f64 {
    let values = &objective.values[draw];
    let feasible = |index: usize| constraints.iter().all(|fantasies| fantasies.values[draw][index] <= 0.0);
    let best = (0..values.len()).filter(|&index| feasible(index)).map(|index| values[index]);
    best.min_by(f64::total_cmp).unwrap_or_else(|| values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// Logarithm of the mean of the exponentials.
fn ln_mean_exp(logs: &[f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + (logs.iter().map(|log| (log - largest).exp()).sum::<f64>() / logs.len() as f64).ln()
}

impl AcquisitionFunction for NoisyExpectedImprovement {
    fn name(&self) -> &'static str {
        "noisy_expected_improvement"
    }

    fn score(
        &self,
        belief: Option<&Belief>,
        candidates: &[Vec<f64>],
        generator: &mut Generator,
    ) -> Result<Vec<f64>, FitError> {
        let Some(belief) = belief else { return Ok(vec![0.0; candidates.len()]) };
        let tested = distinct(&belief.tested);
        let objective = Fantasies::draw(&belief.objective, &tested, self.draws, generator)?;
        let mut constraints = Vec::with_capacity(belief.constraints.len());
        for constraint in &belief.constraints {
            constraints.push(Fantasies::draw(constraint, &tested, self.draws, generator)?);
        }
        let draws = objective.values.len();
        let incumbents: Vec<f64> = (0..draws).map(|draw| incumbent(draw, &objective, &constraints)).collect();
        let mut sums = vec![0.0; candidates.len() * draws];
        objective.add_terms(candidates, &mut sums, |draw, posterior| {
            ln_expected_improvement(posterior, incumbents[draw])
        });
        for constraint in &constraints {
            constraint.add_terms(candidates, &mut sums, |_, posterior| {
                normal::ln_distribution(-posterior.mean / posterior.variance.sqrt())
            });
        }
        Ok(sums.chunks_exact(draws).map(ln_mean_exp).collect())
    }
}
