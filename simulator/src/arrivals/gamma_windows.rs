//! Poisson arrivals whose rate is drawn anew from a gamma law at the start of each window: negative binomial counts.

use super::ArrivalProcess;
use crate::random::Random;

/// Gamma-mixed Poisson arrivals.
#[derive(Clone, Debug)]
pub struct GammaWindows {
    mean: f64,
    shape: f64,
    window: f64,
    rate: f64,
    at: f64,
    until: f64,
}

impl GammaWindows {
    /// `mean` requests per second with this index of dispersion (at least 1) of the counts in windows of `window` seconds.
    #[must_use]
    pub fn new(mean: f64, dispersion: f64, window: f64) -> Self {
        let shape = mean * window / (dispersion - 1.0).max(1e-12);
        Self { mean, shape, window, rate: 0.0, at: 0.0, until: 0.0 }
    }
}

impl ArrivalProcess for GammaWindows {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        loop {
            let next = if self.rate > 0.0 { self.at + random.exponential(self.rate) } else { f64::INFINITY };
            if next < self.until {
                self.at = next;
                return Some(next);
            }
            self.at = self.until;
            self.until += self.window;
            self.rate = if self.shape > 1e9 { self.mean } else { random.gamma(self.shape, self.mean) };
        }
    }
}
