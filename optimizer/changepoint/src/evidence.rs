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
//! *Weights.* A candidate so far off that one window tells it from the present rate needs no weight of its own: the next
//! smaller ratio finds it in that window as well. So weights fall with the divergence above [`ENOUGH_NATS`] and are
//! shared out among the rest. Where one window carries many nats the statistic jumps far over the bound, and false
//! alarms are rarer than allowed by the factor ν (`overshoot`); [`OVERSHOOT_SHARE`] of that is given back to speed.
//! That makes an approximation of the bound, which the bench checks.
//!
//! *Guard.* The bound above holds for known rate and dispersion. While they rest on few windows the likelihood is
//! tempered, L^τ with τ below 1 (see [`temper`]). Since E L^τ ≤ (E L)^τ, tempering can only lower false alarms; a larger
//! dispersion instead of it would raise them, because it changes the shape of the law as well.
//!
//! *Bounds.* One float a candidate, logarithms throughout: no underflow, no overflow. Ratios below 1.5 are not looked
//! for (one above 1.22 is found all the same, late): no plan depends on them, and diurnal drift would raise them.
//!
//! Reference: A. Shiryaev, *Theory of Probability and its Applications* 8, 1963; M. Pollak, "Average run lengths of an
//! optimal method of detecting a change in distribution", *Annals of Statistics* 15, 1987 (mixtures, and the bound);
//! D. Siegmund, B. Yakir, *The Statistics of Gene Mapping*, 2007, §5.2 (the approximation of ν).

use crate::Direction;
use crate::bits;
use crate::likelihood::ln_ratio;
use crate::regime::{RATE_FLOOR, RegimeEstimator};
use crate::state::{StateError, in_range};
use libm::erf;
use serde::{Deserialize, Serialize};

/// Candidate ratios of new to present rate, with their prior weight.
const CANDIDATES: [(f64, f64); 13] = [
    (1.0 / 64.0, 0.03),
    (1.0 / 8.0, 0.05),
    (1.0 / 4.0, 0.08),
    (1.0 / 2.83, 0.08),
    (1.0 / 2.0, 0.11),
    (1.0 / 1.5, 0.14),
    (1.5, 0.14),
    (2.0, 0.11),
    (2.83, 0.08),
    (4.0, 0.08),
    (8.0, 0.05),
    (32.0, 0.03),
    (256.0, 0.02),
];
/// How much a mean that rests on few windows tempers the likelihood, as a factor on (windows to detect) / (windows known).
const MEAN_GUARD: f64 = 0.5;
/// Log-likelihood that the upper bound of the dispersion lacks against the most likely one: half is one standard error.
const DISPERSION_SLACK: f64 = 0.5;
/// Divergence of a candidate, in nats a window, above which its weight falls.
const ENOUGH_NATS: f64 = 12.0;
/// Share, in logarithms, of the overshoot that is given back to speed.
const OVERSHOOT_SHARE: f64 = 0.8;
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
        let (mut down, mut up) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        let ln_weights = ln_weights(regime.mean() / regime.dispersion());
        for ((value, (ratio, _)), ln_weight) in self.ln_statistics.iter_mut().zip(CANDIDATES).zip(ln_weights)
        {
            let Some(gain) = tempered_gain(regime, count, ratio) else {
                *value = f64::NEG_INFINITY;
                continue;
            };
            *value = (softplus(*value) + gain).clamp(-LN_CEILING, LN_CEILING);
            let side = if ratio > 1.0 { &mut up } else { &mut down };
            *side = ln_add(*side, *value + ln_weight);
        }
        let direction = if up > down { Direction::Up } else { Direction::Down };
        Verdict { ln_total: ln_add(up, down), direction }
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

/// Tempered log-likelihood ratio of one window for a rate `ratio` times the present; nothing if the rate is so near
/// [`RATE_FLOOR`] that there is none below it to tell it from.
pub(crate) fn tempered_gain(regime: &RegimeEstimator, count: f64, ratio: f64) -> Option<f64> {
    let mean = regime.mean();
    let after = (mean * ratio).max(RATE_FLOOR);
    if ratio < 1.0 && after > 0.8 * mean {
        return None;
    }
    Some(temper(regime, after / mean) * ln_ratio(count, mean, after, regime.dispersion()))
}

/// The exponent on the likelihood ratio of a candidate, above 0 and at most 1.
///
/// A sum over the d windows that it takes to find a ratio ρ has the variance φ μ d, and the mean of the n windows before
/// adds φ μ d² / n to it: the proportion d / n. d is ln 10⁴ over the divergence, here by its quasi-Poisson form
/// (μ / φ)(ρ ln ρ − ρ + 1). The dispersion counts by its upper bound.
fn temper(regime: &RegimeEstimator, ratio: f64) -> f64 {
    let dispersion = regime.dispersion();
    let divergence = (regime.mean() / dispersion) * shape_of(ratio);
    let windows_to_detect = (9.21 / divergence).max(1.0);
    let mean_part = 1.0 + MEAN_GUARD * windows_to_detect / regime.weight().max(1.0);
    dispersion / regime.dispersion_upper(DISPERSION_SLACK) / mean_part
}

/// ρ ln ρ − ρ + 1: the divergence of a Poisson rate ρ from the rate 1.
fn shape_of(ratio: f64) -> f64 {
    ratio * ratio.ln() - ratio + 1.0
}

/// Logarithms of the candidates' weights at `signal` = mean / dispersion.
fn ln_weights(signal: f64) -> [f64; CANDIDATES.len()] {
    let divergences = CANDIDATES.map(|(ratio, _)| signal * shape_of(ratio));
    let mut weights = CANDIDATES.map(|(_, weight)| weight);
    for (weight, divergence) in weights.iter_mut().zip(divergences) {
        *weight *= (ENOUGH_NATS / divergence).min(1.0).powi(2);
    }
    let sum: f64 = weights.iter().sum();
    for (weight, divergence) in weights.iter_mut().zip(divergences) {
        *weight = (*weight / sum).ln() - OVERSHOOT_SHARE * overshoot((2.0 * divergence).sqrt()).ln();
    }
    weights
}

/// Factor ν by which jumps over the bound make false alarms rarer, at a shift of `shift` standard deviations a window
/// (above 0).
fn overshoot(shift: f64) -> f64 {
    let half = shift / 2.0;
    let normal = 0.5 * (1.0 + erf(half / std::f64::consts::SQRT_2));
    let density = (-0.5 * half * half).exp() / std::f64::consts::TAU.sqrt();
    ((normal - 0.5) / half / (half * normal + density)).min(1.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn regime(windows: u32) -> RegimeEstimator {
        let mut regime = RegimeEstimator::default();
        (0..windows).for_each(|window| regime.observe(f64::from(17 + window * 5 % 7)));
        regime
    }

    #[test]
    fn young_regime_tempers_and_an_old_one_hardly_does() {
        let (young, old) = (temper(&regime(5), 1.5), temper(&regime(3000), 1.5));
        assert!(0.0 < young && young < 0.7, "{young}");
        assert!(0.95 < old && old <= 1.0, "{old}");
    }

    #[test]
    fn overshoot_is_one_for_small_shifts_and_falls_with_the_shift() {
        // exp(-0.583 x) is the classical approximation for small shifts (Siegmund 1985, chapter 10).
        assert!((overshoot(0.5) - (-0.583_f64 * 0.5).exp()).abs() < 0.02);
        assert!(overshoot(1e-6) > 0.999 && overshoot(4.0) < 0.15);
    }

    #[test]
    fn weights_share_one_before_the_overshoot_and_leave_out_what_one_window_tells() {
        let weights = ln_weights(100.0);
        let divergence = |candidate: usize| 100.0 * shape_of(CANDIDATES[candidate].0);
        let prior = |candidate: usize| {
            weights[candidate] + OVERSHOOT_SHARE * overshoot((2.0 * divergence(candidate)).sqrt()).ln()
        };
        let sum: f64 = (0..CANDIDATES.len()).map(|candidate| prior(candidate).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert!(prior(6).exp() > 0.3 && prior(9).exp() < 0.001);
    }

    #[test]
    fn counts_of_the_regime_leave_the_evidence_low_and_twice_them_raise_it() {
        let (mut evidence, regime) = (Evidence::default(), regime(1000));
        let calm = (0..50).map(|_| evidence.observe(20.0, &regime)).last().expect("fifty windows");
        assert!(calm.ln_total < 3.0, "{calm:?}");
        let risen = evidence.observe(40.0, &regime);
        assert!(risen.ln_total > calm.ln_total && risen.direction == Direction::Up, "{risen:?}");
    }
}
