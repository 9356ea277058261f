//! Means that forget, for what needs no more than that.

use serde::{Deserialize, Serialize};

/// Mean and variance with exponential forgetting; an ordinary mean until it holds its full weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Observations, as far as they are remembered.
    pub weight: f64,
    /// Mean.
    pub mean: f64,
    /// Variance.
    pub variance: f64,
}

impl Running {
    /// Takes a value in; once `memory` observations are held, each new one weighs 1/`memory`. What is not finite is left out.
    pub fn add(&mut self, value: f64, memory: f64) {
        if !value.is_finite() {
            return;
        }
        self.weight = (self.weight + 1.0).min(memory);
        let rate = 1.0 / self.weight;
        let deviation = value - self.mean;
        self.mean += rate * deviation;
        self.variance += rate * ((1.0 - rate) * deviation * deviation - self.variance);
    }

    /// The mean, or `otherwise` while nothing was observed.
    #[must_use]
    pub fn mean_or(&self, otherwise: f64) -> f64 {
        if self.weight > 0.0 { self.mean } else { otherwise }
    }

    /// Whether every number is usable.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        [self.weight, self.mean, self.variance].iter().all(|it| it.is_finite()) && self.variance >= 0.0
    }
}
