//! The evidence that the rate has changed: Bayes' posterior odds of a change at any past window to any candidate rate.
//!
//! *Problem.* Neither the moment of the change nor the rate after it is known, and at most one alarm in 10,000
//! stationary windows is allowed.
//!
//! *Statistic.* For each candidate ratio ρ of new to present rate the Shiryaev–Roberts statistic
//! R ← (1 + R) · L, with L the negative binomial likelihood ratio of the window. R is the sum over every possible
//! moment of change of the likelihood ratio since then: a run-length posterior with the run length summed out, in one
//! number. The alarm is raised when the mixture Σ w R over all candidates, both directions together, passes a bound A.
//! Under the present regime Σ w R − t is a martingale, so the mean time to a false alarm is at least A, whatever rate
//! and dispersion are; with hazard h the posterior odds of a change are h · Σ w R.
//!
//! *Why not the obvious alternative.* A run-length posterior kept window by window costs time and memory that grow with
//! the horizon (hundreds of windows at dispersion 27); a CUSUM with one design ratio is late everywhere else; a
//! generalised likelihood ratio needs a threshold from simulation for each rate and dispersion.
//!
//! *Guard.* The bound above holds for known rate and dispersion. While they rest on few windows the likelihood is
//! flattened by using a larger dispersion (see [`Evidence::flattened`]).
//!
//! *Bounds.* One float a candidate, logarithms throughout: no underflow, no overflow. Ratios below √2 are not looked
//! for: no plan depends on them, and diurnal drift would raise them.
//!
//! Reference: A. Shiryaev, *Theory of Probability and its Applications* 8, 1963; M. Pollak, "Average run lengths of an
//! optimal method of detecting a change in distribution", *Annals of Statistics* 15, 1987 (mixtures, and the bound).

use crate::Direction;
use crate::bits;
use crate::likelihood::ln_ratio;
use crate::regime::RegimeEstimator;
use crate::state::{StateError, in_range};
use serde::{Deserialize, Serialize};

/// Candidate ratios of new to present rate, with their prior weight.
const CANDIDATES: [(f64, f64); 13] = [
    (1.0 / 64.0, 0.04),
    (1.0 / 8.0, 0.06),
    (1.0 / 4.0, 0.09),
    (1.0 / 2.83, 0.09),
    (1.0 / 2.0, 0.11),
    (1.0 / 1.45, 0.11),
    (1.45, 0.11),
    (2.0, 0.11),
    (2.83, 0.09),
    (4.0, 0.09),
    (8.0, 0.05),
    (32.0, 0.03),
    (256.0, 0.02),
];
/// How much the likelihood is flattened per (dispersion / mean) / windows of an uncertain mean.
const MEAN_GUARD: f64 = 40.0;
/// The same for the dispersion, per √(2 / windows).
const DISPERSION_GUARD: f64 = 0.5;
/// Logarithms of R are kept within this, so that nothing overflows in a sum.
const LN_CEILING: f64 = 1e9;

/// Shiryaev–Roberts statistics, one a candidate, as logarithms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    #[serde(with = "bits::many")]
    ln_statistics: Vec<f64>,
}

impl Default for Evidence {
    fn default() -> Self {
        Self { ln_statistics: vec![f64::NEG_INFINITY; CANDIDATES.len()] }
    }
}

/// The sum of evidence after a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    /// ln Σ w R over all candidates.
    pub(crate) ln_total: f64,
    /// The direction with the greater part of it.
    pub(crate) direction: Direction,
}

impl Evidence {
    /// Takes in one window under the regime believed before it.
    pub(crate) fn observe(&mut self, count: f64, regime: &RegimeEstimator) -> Verdict {
        let (mean, dispersion) = (regime.mean(), Self::flattened(regime));
        let (mut down, mut up) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (value, (ratio, weight)) in self.ln_statistics.iter_mut().zip(CANDIDATES) {
            *value = (softplus(*value) + ln_ratio(count, mean, mean * ratio, dispersion))
                .clamp(-LN_CEILING, LN_CEILING);
            let side = if ratio > 1.0 { &mut up } else { &mut down };
            *side = ln_add(*side, *value + weight.ln());
        }
        let direction = if up > down { Direction::Up } else { Direction::Down };
        Verdict { ln_total: ln_add(up, down), direction }
    }

    /// The dispersion to test with: the learned one, enlarged for what is not known yet of mean and dispersion.
    ///
    /// The mean of n windows errs by √(φ μ / n); a test that sums some φ / μ windows meets that error as extra variance
    /// in the proportion (φ / μ) / n.
    pub(crate) fn flattened(regime: &RegimeEstimator) -> f64 {
        let dispersion = regime.dispersion();
        let mean_part = MEAN_GUARD * dispersion / regime.mean() / regime.weight().max(1.0);
        let dispersion_part = DISPERSION_GUARD * (2.0 / regime.dispersion_windows().max(1.0)).sqrt();
        dispersion * (1.0 + mean_part) * (1.0 + dispersion_part)
    }

    /// Forgets all evidence.
    pub(crate) fn clear(&mut self) {
        self.ln_statistics.fill(f64::NEG_INFINITY);
    }

    /// Whether a saved state can be continued.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        if self.ln_statistics.len() != CANDIDATES.len() {
            return Err(StateError::Length { field: "ln_statistics", length: self.ln_statistics.len() });
        }
        self.ln_statistics
            .iter()
            .filter(|value| **value != f64::NEG_INFINITY)
            .try_for_each(|value| in_range("ln_statistics", *value, -LN_CEILING, LN_CEILING))
    }
}

/// ln(1 + eˣ).
fn softplus(x: f64) -> f64 {
    if x > 35.0 { x } else { x.exp().ln_1p() }
}

/// ln(eᵃ + eᵇ); minus infinity is the neutral element.
fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
