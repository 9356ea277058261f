//! What the present regime is believed to be: its rate, how well that is known, its dispersion.
//!
//! *Problem.* The test of "has the rate changed" needs the rate before. It must follow the time of day without an
//! alarm, must not follow a step before the step is found, and must survive bursts.
//!
//! *Rule.* A running mean whose memory is as long as precision needs and no longer: 2500 × dispersion / mean windows
//! give a relative standard error of 2 %, between [`SHORTEST_MEMORY`] and [`LONGEST_MEMORY`]. Traffic with many arrivals
//! a window is known within a minute and follows the day; sparse traffic is averaged over an hour. Detection of a given
//! ratio takes a number of windows in the same proportion, some twentieth of the memory, so a step is found long before
//! the mean has moved with it.
//!
//! *Why not the obvious alternative.* A fixed forgetting factor is too slow for busy models or too noisy for quiet
//! ones. Medians and trimmed means are biased for skewed counts; bursts are kept out by the alarm itself, which starts
//! a new regime, and `track` goes back to the old one when the burst ends.
//!
//! *Bounds.* Some thirty floats; constant time. Deliberately absent: seasonality.

use crate::bits;
use crate::dispersion::Dispersion;
use crate::state::{StateError, in_range};
use crate::{RateEstimate, Regime};
use serde::{Deserialize, Serialize};

/// Least rate that the tests reckon with, in arrivals a window: below it a window without arrivals tells nothing.
pub(crate) const RATE_FLOOR: f64 = 0.05;
/// Shortest memory of the mean, in windows.
const SHORTEST_MEMORY: f64 = 100.0;
/// Longest memory of the mean, in windows.
const LONGEST_MEMORY: f64 = 4000.0;
/// Windows of memory per unit of dispersion / mean; 2500 is a relative standard error of 2 %.
const MEMORY_PER_NOISE: f64 = 2500.0;
/// Windows that the dispersion of the regime before counts for in a new one.
const INHERITED_WINDOWS: f64 = 200.0;

/// Running estimate of one regime.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RegimeEstimator {
    #[serde(with = "bits::one")]
    mean: f64,
    #[serde(with = "bits::one")]
    weight: f64,
    windows: u64,
    dispersion: Dispersion,
}

impl RegimeEstimator {
    /// Takes in one window's count.
    pub(crate) fn observe(&mut self, count: f64) {
        // Under a rate near zero silence is likeliest at the greatest dispersion, which says nothing about the traffic.
        if self.weight > 0.0 && self.mean >= RATE_FLOOR {
            self.dispersion.observe(count, self.mean());
        }
        let memory =
            (MEMORY_PER_NOISE * self.dispersion() / self.mean()).clamp(SHORTEST_MEMORY, LONGEST_MEMORY);
        self.weight = (self.weight + 1.0).min(memory.max(self.weight * 0.99));
        self.mean += (count - self.mean) / self.weight;
        self.windows = self.windows.saturating_add(1);
    }

    /// A regime that began `windows` windows ago with this mean and the dispersion of the one before.
    pub(crate) fn successor(&self, mean: f64, windows: u32) -> Self {
        let mut dispersion = self.dispersion.clone();
        dispersion.loosen(INHERITED_WINDOWS);
        Self { mean, weight: f64::from(windows), windows: u64::from(windows), dispersion }
    }

    /// Mean arrivals per window, at least [`RATE_FLOOR`].
    pub(crate) fn mean(&self) -> f64 {
        self.mean.max(RATE_FLOOR)
    }

    /// Windows that the mean rests on.
    pub(crate) fn weight(&self) -> f64 {
        self.weight
    }

    /// Windows seen in this regime.
    pub(crate) fn windows(&self) -> u64 {
        self.windows
    }

    /// Index of dispersion, at least 1.
    pub(crate) fn dispersion(&self) -> f64 {
        self.dispersion.estimate()
    }

    /// Upper bound of the index of dispersion, see [`Dispersion::upper`].
    pub(crate) fn dispersion_upper(&self, slack: f64) -> f64 {
        self.dispersion.upper(slack)
    }

    /// The rate with the last `recent` windows, whose counts sum to `sum`, taken out again.
    pub(crate) fn rate_without(&self, recent: f64, sum: f64) -> RateEstimate {
        let left = self.weight - recent;
        if left < 1.0 {
            return self.rate();
        }
        rate_of((self.mean * self.weight - sum).max(0.0) / left, left, self.dispersion())
    }

    /// The rate with its uncertainty.
    pub(crate) fn rate(&self) -> RateEstimate {
        rate_of(self.mean, self.weight, self.dispersion())
    }

    /// The regime as the outside sees it.
    pub(crate) fn report(&self) -> Regime {
        Regime { rate: self.rate(), dispersion: self.dispersion(), windows: self.windows }
    }

    /// Whether a saved state can be continued.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        in_range("mean", self.mean, 0.0, 1e13)?;
        in_range("weight", self.weight, 0.0, 1e7)?;
        self.dispersion.check()
    }
}

/// A mean over `windows` windows with its standard error under the index of dispersion; with nothing seen the error is
/// that of one window.
pub(crate) fn rate_of(mean: f64, windows: f64, dispersion: f64) -> RateEstimate {
    let variance = dispersion * mean.max(RATE_FLOOR) / windows.max(1.0);
    RateEstimate { mean, standard_error: variance.sqrt() }
}
