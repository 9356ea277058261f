//! The index of dispersion of the present traffic, learned online.
//!
//! *Problem.* Every threshold of a count detector rests on the noise. Taken too small by a fifth, false alarms
//! multiply; and at dispersion 27 the classical variance over mean of 1000 windows is itself off by a fifth, because
//! the fourth moment of such counts is huge.
//!
//! *Statistic.* Maximum likelihood over a geometric grid of dispersions, one running log-likelihood a grid point, with
//! exponential forgetting after [`MEMORY_WINDOWS`] windows and a parabola through the best three points. Each window is
//! scored under the mean that was believed *before* it.
//!
//! *Why not the obvious alternative.* The sample variance weighs a tail window by its square; the likelihood weighs it
//! by what it says. Its error is about a third of the variance's at mean 5 and dispersion 27.
//!
//! *Bounds.* A fixed number of floats; constant time a window. The first start is a broad log-normal prior round 2.
//!
//! Reference: W. Piegorsch, "Maximum likelihood estimation for the negative binomial dispersion parameter",
//! *Biometrics* 46, 1990.

use crate::bits;
use crate::likelihood::ln_likelihood;
use crate::state::{StateError, in_range};
use serde::{Deserialize, Serialize};

/// Windows after which old evidence about the dispersion fades: 4000, about an hour of one-second windows.
const MEMORY_WINDOWS: f64 = 4000.0;
/// Ratio of neighbouring grid points.
const GRID_RATIO: f64 = 1.25;
/// Grid points: from 1 to 1.25²² = 136.
const GRID_POINTS: usize = 23;
/// Centre and width, in logarithms, of the prior.
const PRIOR_CENTRE: f64 = 0.7;
const PRIOR_WIDTH: f64 = 1.0;

/// Running likelihood of each dispersion on the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dispersion {
    #[serde(with = "bits::many")]
    ln_likelihoods: Vec<f64>,
    #[serde(with = "bits::one")]
    windows: f64,
}

impl Default for Dispersion {
    fn default() -> Self {
        let prior = |point: usize| -0.5 * ((ln_grid(point) - PRIOR_CENTRE) / PRIOR_WIDTH).powi(2);
        Self { ln_likelihoods: (0..GRID_POINTS).map(prior).collect(), windows: 0.0 }
    }
}

impl Dispersion {
    /// Takes in one window's count under the mean believed before it (above 0).
    pub(crate) fn observe(&mut self, count: f64, mean: f64) {
        let keep = if self.windows >= MEMORY_WINDOWS { 1.0 - 1.0 / MEMORY_WINDOWS } else { 1.0 };
        self.windows = self.windows.mul_add(keep, 1.0);
        let mut best = f64::NEG_INFINITY;
        for (point, value) in self.ln_likelihoods.iter_mut().enumerate() {
            *value = value.mul_add(keep, ln_likelihood(count, mean, ln_grid(point).exp()));
            best = best.max(*value);
        }
        for value in &mut self.ln_likelihoods {
            *value -= best;
        }
    }

    /// The most likely index of dispersion, from 1 to the grid's end.
    pub(crate) fn estimate(&self) -> f64 {
        let values = &self.ln_likelihoods;
        let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(point, _)| point);
        if best == 0 || best + 1 == values.len() {
            return ln_grid(best).exp();
        }
        let (left, middle, right) = (values[best - 1], values[best], values[best + 1]);
        let curvature = left - 2.0 * middle + right;
        let shift = if curvature < 0.0 { (0.5 * (left - right) / curvature).clamp(-0.5, 0.5) } else { 0.0 };
        (ln_grid(best) + shift * GRID_RATIO.ln()).exp().max(1.0)
    }

    /// The largest index of dispersion whose log-likelihood is within `slack` of the best: an upper bound that is wide
    /// while little is known and narrows by itself.
    pub(crate) fn upper(&self, slack: f64) -> f64 {
        let values = &self.ln_likelihoods;
        let last = values.iter().rposition(|value| *value >= -slack).unwrap_or(0);
        let share = values.get(last + 1).map_or(0.0, |next| (values[last] + slack) / (values[last] - next));
        ((ln_grid(last) + share * GRID_RATIO.ln()).exp()).max(self.estimate())
    }

    /// Keeps the estimate and lowers what it rests on to at most `windows`, so that it can move again.
    pub(crate) fn loosen(&mut self, windows: f64) {
        if self.windows > windows {
            let share = windows / self.windows;
            for value in &mut self.ln_likelihoods {
                *value *= share;
            }
            self.windows = windows;
        }
    }

    /// Whether a saved state can be continued.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        if self.ln_likelihoods.len() != GRID_POINTS {
            return Err(StateError::Length { field: "ln_likelihoods", length: self.ln_likelihoods.len() });
        }
        for value in &self.ln_likelihoods {
            in_range("ln_likelihoods", *value, -1e30, 1e30)?;
        }
        in_range("dispersion windows", self.windows, 0.0, 2.0 * MEMORY_WINDOWS)
    }
}

fn ln_grid(point: usize) -> f64 {
    point as f64 * GRID_RATIO.ln()
}
