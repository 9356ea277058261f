//! Acquisition functions: how much is a test of a point worth, given what is believed?
//!
//! One function a file, and one line each in [`REGISTRY`]. Values are minimised, constraints hold at or below zero.
//! Scores are logarithms where the quantity has one: expected improvement underflows to a plateau of zeros as the
//! search closes in, its logarithm still ranks (Ament et al., "Unexpected improvements to expected improvement for
//! Bayesian optimization", 2023). Only the order of scores is promised.
//!
//! Deliberately absent: the search for the best candidate (see `study`).

mod constrained_expected_improvement;
mod expected_improvement;
mod noisy_expected_improvement;
mod random;

pub use constrained_expected_improvement::ConstrainedExpectedImprovement;
pub use expected_improvement::ExpectedImprovement;
pub use noisy_expected_improvement::NoisyExpectedImprovement;
pub use random::Random;

use crate::gaussian_process::{FitError, GaussianProcess, Posterior};
use crate::normal;
use crate::random::Generator;

/// What is believed after the trials so far.
#[derive(Debug)]
pub struct Belief {
    /// About the value to minimise.
    pub objective: GaussianProcess,
    /// About each constraint; it holds where the value is at most zero.
    pub constraints: Vec<GaussianProcess>,
    /// Encoded points that were tested or are under test; at least one.
    pub tested: Vec<Vec<f64>>,
}

/// Scores candidates for the next trial.
pub trait AcquisitionFunction: std::fmt::Debug + Send + Sync {
    /// The name in [`REGISTRY`] and in settings.
    fn name(&self) -> &'static str;

    /// Whether it scores without a belief, so that none has to be made.
    fn is_blind(&self) -> bool {
        false
    }

    /// A score for each encoded candidate: the higher, the more it is worth a trial. Without a belief all candidates
    /// are worth the same. Draws, if any, come from the generator alone.
    ///
    /// # Errors
    /// [`FitError`] if a process derived from the belief cannot be made.
    fn score(
        &self,
        belief: Option<&Belief>,
        candidates: &[Vec<f64>],
        generator: &mut Generator,
    ) -> Result<Vec<f64>, FitError>;
}

/// Makes an acquisition function with its default settings.
pub type Constructor = fn() -> Box<dyn AcquisitionFunction>;

/// All acquisition functions by name. `random` is the baseline.
pub const REGISTRY: &[(&str, Constructor)] = &[
    ("constrained_expected_improvement", || Box::new(ConstrainedExpectedImprovement)),
    ("expected_improvement", || Box::new(ExpectedImprovement)),
    ("noisy_expected_improvement", || Box::new(NoisyExpectedImprovement::default())),
    ("random", || Box::new(Random)),
];

/// The acquisition function of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn AcquisitionFunction>> {
    REGISTRY.iter().find(|(known, _)| *known == name).map(|(_, constructor)| constructor())
}

/// Expected improvement below `incumbent`, E[max(incumbent − f, 0)], in the unit of the value (Jones, Schonlau and
/// Welch, 1998).
#[must_use]
pub fn expected_improvement(posterior: Posterior, incumbent: f64) -> f64 {
    ln_expected_improvement(posterior, incumbent).exp()
}

/// Natural logarithm of [`expected_improvement`], finite also where that underflows.
#[must_use]
pub fn ln_expected_improvement(posterior: Posterior, incumbent: f64) -> f64 {
    let deviation = posterior.variance.sqrt();
    deviation.ln() + normal::ln_improvement((incumbent - posterior.mean) / deviation)
}

/// Probability that the latent value is at or below `bound`.
#[must_use]
pub fn probability_below(posterior: Posterior, bound: f64) -> f64 {
    normal::distribution((bound - posterior.mean) / posterior.variance.sqrt())
}

/// Natural logarithm of the probability that all constraints hold, for each candidate.
fn ln_feasibility(constraints: &[GaussianProcess], candidates: &[Vec<f64>]) -> Vec<f64> {
    let mut sums = vec![0.0; candidates.len()];
    for constraint in constraints {
        for (sum, posterior) in sums.iter_mut().zip(constraint.predict_many(candidates)) {
            *sum += normal::ln_distribution(-posterior.mean / posterior.variance.sqrt());
        }
    }
    sums
}
