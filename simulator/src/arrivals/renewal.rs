//! Independent gamma-distributed times between arrivals.

use super::ArrivalProcess;
use crate::random::Random;

/// A gamma renewal process.
#[derive(Clone, Debug)]
pub struct GammaRenewal {
    mean_gap: f64,
    shape: f64,
    at: f64,
}

impl GammaRenewal {
    /// `rate` requests per second whose gaps have this coefficient of variation (above 0; 1 is Poisson).
    #[must_use]
    pub fn new(rate: f64, coefficient_of_variation: f64) -> Self {
        Self { mean_gap: 1.0 / rate, shape: 1.0 / coefficient_of_variation.powi(2), at: 0.0 }
    }
}

impl ArrivalProcess for GammaRenewal {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        self.at += random.gamma(self.shape, self.mean_gap);
        Some(self.at)
    }
}
