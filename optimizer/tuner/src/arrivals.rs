//! The law of arrivals of the present regime, from windows.
//!
//! The detector says when a regime begins, its rate and its dispersion at the scale of a window. Beside it the short bins tell how bursty arrivals
//! are at the scale of a batch, and so how long a burst lasts. Items per request forget over [`REQUEST_MEMORY`] windows.

use std::time::Duration;

use gateway_contract::WindowStats;
use optimizer_changepoint::{ChangePoint, Detector, DetectorKind, DetectorSettings, DetectorState};

use crate::formula::{ArrivalLaw, ItemsPerRequest, RateMemory};

/// Windows over which the mix of request sizes is averaged.
const REQUEST_MEMORY: f64 = 120.0;
/// Windows from which the bins of a regime are believed.
const BINS_FROM: f64 = 5.0;
/// Largest request that the law holds, items.
const MAX_ITEMS: usize = 512;

/// Arrivals of one model.
pub(crate) struct Arrivals {
    detector: Box<dyn Detector>,
    kind: DetectorKind,
    window: Duration,
    bins: Bins,
    items: Moments,
}

/// Sums over the regime's windows, halved when they grow old.
#[derive(Clone, Copy, Debug, Default)]
struct Bins {
    windows: f64,
    count: f64,
    sum: f64,
    squared: f64,
    length: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    requests: f64,
    items: f64,
    squared: f64,
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrivals").field("detector", &self.detector.name()).finish_non_exhaustive()
    }
}

impl Arrivals {
    pub(crate) fn new(kind: DetectorKind, window: Duration) -> Self {
        let detector = kind.build(&DetectorSettings::default());
        Self { detector, kind, window, bins: Bins::default(), items: Moments::default() }
    }

    /// Takes a window in; tells if the regime changed.
    #[expect(clippy::cast_precision_loss, reason = "counts of one window are far below 2^53")]
    pub(crate) fn add(&mut self, stats: &WindowStats) -> Option<ChangePoint> {
        let change = self.detector.observe(stats.requests);
        if change.is_some() {
            self.bins = Bins::default();
        }
        let fade = 1.0 - 1.0 / REQUEST_MEMORY;
        let bins = &mut self.bins;
        for sum in [&mut bins.windows, &mut bins.count, &mut bins.sum, &mut bins.squared] {
            *sum *= fade;
        }
        bins.windows += 1.0;
        bins.count += f64::from(stats.bins.bins);
        bins.sum += stats.requests as f64;
        bins.squared += stats.bins.squared as f64;
        bins.length = stats.bins.length;
        let items = &mut self.items;
        if stats.requests > 0 {
            for sum in [&mut items.requests, &mut items.items, &mut items.squared] {
                *sum *= fade;
            }
            items.requests += stats.requests as f64;
            items.items += stats.items as f64;
            items.squared += stats.items_squared as f64;
        }
        change
    }

    /// Windows in the present regime.
    pub(crate) fn regime_windows(&self) -> u64 {
        self.detector.regime().windows
    }

    /// Requests per second and its standard error.
    pub(crate) fn rate_per_s(&self) -> (f64, f64) {
        let rate = self.detector.regime().rate;
        let seconds = self.window.as_secs_f64();
        (rate.mean / seconds, rate.standard_error / seconds)
    }

    pub(crate) fn dispersion(&self) -> f64 {
        self.detector.regime().dispersion
    }

    pub(crate) fn items_per_request(&self) -> f64 {
        if self.items.requests > 0.0 { self.items.items / self.items.requests } else { 1.0 }
    }

    /// The law; `None` while nothing arrives.
    pub(crate) fn law(&self) -> Option<ArrivalLaw> {
        let (rate, _) = self.rate_per_s();
        if !(rate.is_finite() && rate > 1e-4) {
            return None;
        }
        let long = (self.window, self.dispersion().max(1.0));
        let law = match self.short_dispersion() {
            Some(short) if self.bins.length < self.window && long.1 > 1.05 && short > 1.01 => {
                ArrivalLaw::from_two_windows(rate, (self.bins.length, short), long)
            }
            _ => ArrivalLaw {
                rate_memory: RateMemory::Window,
                ..ArrivalLaw::over_dispersed(rate, long.1, long.0)
            },
        };
        Some(ArrivalLaw { items_per_request: self.item_law(), ..law })
    }

    /// Index of dispersion of the bins.
    fn short_dispersion(&self) -> Option<f64> {
        let bins = &self.bins;
        if bins.windows < BINS_FROM || bins.count < 20.0 || bins.sum < 20.0 {
            return None;
        }
        let mean = bins.sum / bins.count;
        Some(((bins.squared / bins.count - mean * mean) / mean).max(1.0))
    }

    /// A law of items per request with the observed mean and variance.
    fn item_law(&self) -> ItemsPerRequest {
        let mean = self.items_per_request();
        if mean <= 1.001 {
            return ItemsPerRequest::one();
        }
        let variance = (self.items.squared / self.items.requests - mean * mean).max(0.0);
        ItemsPerRequest::new(item_weights(mean, variance)).unwrap_or_else(|_| ItemsPerRequest::one())
    }

    pub(crate) fn save(&self) -> DetectorState {
        self.detector.save()
    }

    pub(crate) fn restore(&mut self, state: &DetectorState) -> bool {
        let restored = optimizer_changepoint::restore(self.kind, &DetectorSettings::default(), state);
        restored.map(|detector| self.detector = detector).is_ok()
    }
}

/// Weights of 1, 2, … items: the two whole numbers around the mean if nearly all requests are of one size; else one item and
/// more with a negative binomial (or Poisson) law of what is beyond.
fn item_weights(mean: f64, variance: f64) -> Vec<f64> {
    let beyond = mean - 1.0;
    if variance < 0.5 * beyond {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just before")]
        let low = mean.floor().clamp(1.0, (MAX_ITEMS - 1) as f64) as usize;
        let mut weights = vec![0.0; low + 1];
        weights[low - 1] = (low as f64 + 1.0 - mean).clamp(0.0, 1.0);
        weights[low] = (mean - low as f64).clamp(0.0, 1.0);
        return weights;
    }
    // P(k+1)/P(k): Poisson with r infinite, negative binomial otherwise.
    let excess = (variance - beyond).max(0.0);
    let mut weights = Vec::new();
    let mut weight = 1.0;
    for k in 0..MAX_ITEMS {
        weights.push(weight);
        let k = k as f64;
        weight *= if excess < 1e-6 {
            beyond / (k + 1.0)
        } else {
            let size = beyond * beyond / excess;
            let p = beyond / (beyond + size);
            p * (k + size) / (k + 1.0)
        };
        if weight < 1e-9 && k > mean {
            break;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(weights: &[f64]) -> (f64, f64) {
        let sum: f64 = weights.iter().sum();
        let moment = |power: i32| {
            weights.iter().zip(1_i32..).map(|(w, k)| w / sum * f64::from(k).powi(power)).sum::<f64>()
        };
        (moment(1), moment(2) - moment(1).powi(2))
    }

    #[test]
    fn request_sizes_keep_their_mean_and_spread() {
        for (mean, variance) in [(3.0, 0.0), (2.5, 0.25), (4.0, 3.0), (6.0, 30.0)] {
            let (got_mean, got_variance) = moments(&item_weights(mean, variance));
            assert!((got_mean - mean).abs() < 0.05, "{mean} {variance}: {got_mean}");
            assert!(
                (got_variance - variance).abs() < 0.1 * variance.max(0.5),
                "{mean} {variance}: {got_variance}"
            );
        }
    }

    #[test]
    fn a_step_makes_a_new_law() {
        let mut arrivals = Arrivals::new(DetectorKind::Bocpd, Duration::from_secs(1));
        assert!(arrivals.law().is_none());
        let window = |requests| WindowStats {
            requests,
            items: requests,
            items_squared: requests,
            ..WindowStats::default()
        };
        for n in 0..300_u64 {
            arrivals.add(&window(18 + n * 7 % 5));
        }
        assert!((arrivals.law().unwrap().requests_per_second / 20.0 - 1.0).abs() < 0.1);
        let seen = (0..10_u64).any(|n| arrivals.add(&window(78 + n % 5)).is_some());
        assert!(seen && arrivals.law().unwrap().requests_per_second > 60.0);
    }
}
