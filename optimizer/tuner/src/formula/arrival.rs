//! The law of arrivals of one regime: rate, burstiness with the time over which it lasts, items per request.
//!
//! Problem: the index of dispersion of counts depends on the window in which one counts. A batch gathers over milliseconds to
//! seconds, the detector counts over its own window; the same index at another time scale would be wrong.
//!
//! Rule: requests are Poisson given a rate Λ, and Λ is a stationary process with a gamma law that keeps its value for a while
//! ([`RateMemory`]) and is then drawn anew. Counts within one value are negative binomial. The variance of Λ follows from the index D
//! over the window W: Var N(W) = λW + Var ∫Λ = D·λW. At a shorter scale t the index is then 1 + (D − 1)·(share of ∫Λ's variance left),
//! about 1 + (D − 1)·t/W while the rate lasts: over a short batch the same traffic looks nearly Poisson, at a rate that differs from
//! batch to batch.
//!
//! Why not a negative binomial with the same index at the batch's scale: it says that bursts are shorter than a batch, and
//! overstates the fill of every batch at low load.
//! Reference: Cox and Lewis, "The Statistical Analysis of Series of Events", 1966, for the index; Grandell, "Mixed Poisson Processes", 1997.

use std::time::Duration;

/// Arrivals of one regime.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivalLaw {
    /// Mean requests per second, above 0.
    pub requests_per_second: f64,
    /// Variance over mean of the requests in a `dispersion_window`; below 1 counts as 1 (Poisson).
    pub dispersion: f64,
    /// The window in which `dispersion` was counted.
    pub dispersion_window: Duration,
    /// How long the rate keeps its value.
    pub rate_memory: RateMemory,
    /// Items per request.
    pub items_per_request: ItemsPerRequest,
}

/// How long the random rate keeps its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RateMemory {
    /// For one `dispersion_window`, then anew: all that one index of dispersion can say.
    Window,
    /// For exponentially distributed times of this mean: the rate's autocorrelation at lag t is exp(−t/mean).
    Fading(Duration),
}

/// Probabilities of 1, 2, … items per request.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemsPerRequest {
    pmf: Vec<f64>,
    mean: f64,
    mean_square: f64,
}

/// A law that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormulaError {
    /// A number that is not finite, or outside its range.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}

impl ItemsPerRequest {
    /// One item per request.
    #[must_use]
    pub fn one() -> Self {
        Self { pmf: vec![1.0], mean: 1.0, mean_square: 1.0 }
    }

    /// From weights of 1, 2, … items, at most 4,096; they need not sum to 1.
    ///
    /// # Errors
    /// When empty, too long, negative, not finite or all zero.
    pub fn new(mut weights: Vec<f64>) -> Result<Self, FormulaError> {
        while weights.last().is_some_and(|&last| last == 0.0) {
            weights.pop();
        }
        let sum: f64 = weights.iter().sum();
        let usable = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
        if !usable || weights.is_empty() || weights.len() > 4096 || !sum.is_finite() {
            return Err(FormulaError::OutOfRange("items_per_request"));
        }
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let moment = |power: i32| {
            weights.iter().enumerate().map(|(at, p)| p * ((at + 1) as f64).powi(power)).sum::<f64>()
        };
        Ok(Self { mean: moment(1), mean_square: moment(2), pmf: weights })
    }

    /// Mean items, at least 1.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Probabilities of 1, 2, … items.
    #[must_use]
    pub fn pmf(&self) -> &[f64] {
        &self.pmf
    }

    /// Most items of a request.
    #[must_use]
    pub fn max(&self) -> usize {
        self.pmf.len()
    }

    /// Mean of what a request has beyond a bound that falls somewhere within it: E\[K(K−1)\] / 2E\[K\].
    pub(crate) fn mean_excess(&self) -> f64 {
        (self.mean_square - self.mean) / (2.0 * self.mean)
    }

    /// The smallest number of items that a share of at most `rare` of the requests exceeds or equals, less one.
    pub(crate) fn reached(&self, rare: f64) -> usize {
        let mut left = 1.0;
        let above = self.pmf.iter().position(|p| {
            left -= p;
            left < rare
        });
        above.map_or(self.pmf.len(), |at| at + 1)
    }

    /// The law with few sizes: singly up to 8, then in groups that widen by half, each as the two whole numbers about its mean.
    /// The mean is kept.
    pub(crate) fn thinned(&self) -> Vec<(usize, f64)> {
        let mut sizes: Vec<(usize, f64)> = Vec::new();
        let mut add = |size: usize, p: f64| match sizes.last_mut() {
            _ if p <= 0.0 => {}
            Some(last) if last.0 == size => last.1 += p,
            _ => sizes.push((size, p)),
        };
        let mut from = 0;
        while from < self.pmf.len() {
            let until =
                (from + 1).max(if from < SINGLE_SIZES { 0 } else { from + from / 2 }).min(self.pmf.len());
            let group = &self.pmf[from..until];
            let mass: f64 = group.iter().sum();
            let mean =
                group.iter().zip(from + 1..).map(|(p, size)| p * size as f64).sum::<f64>() / mass.max(1e-300);
            // Rounding must not lead out of the group: sizes ascend.
            let mean = mean.clamp((from + 1) as f64, until as f64);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a size of the group"
            )]
            let low = mean as usize;
            let share = mean - low as f64;
            add(low, mass * (1.0 - share));
            add(low + 1, mass * share);
            from = until;
        }
        sizes
    }
}

/// Sizes of requests that are told apart one by one.
const SINGLE_SIZES: usize = 8;

impl ArrivalLaw {
    /// Poisson arrivals of single items.
    #[must_use]
    pub fn poisson(requests_per_second: f64) -> Self {
        Self {
            requests_per_second,
            dispersion: 1.0,
            dispersion_window: Duration::from_secs(1),
            rate_memory: RateMemory::Window,
            items_per_request: ItemsPerRequest::one(),
        }
    }

    /// Single items with an index of dispersion in a window, the rate lasting as long as that window.
    #[must_use]
    pub fn over_dispersed(requests_per_second: f64, dispersion: f64, window: Duration) -> Self {
        Self { dispersion, dispersion_window: window, ..Self::poisson(requests_per_second) }
    }

    /// Single items with indices of dispersion counted in two windows, which tell how long a rate lasts.
    ///
    /// For an exponentially fading rate (D₂ − 1)/(D₁ − 1) lies between 1 (bursts shorter than the short window) and W₂/W₁ (rates that
    /// outlast the long one); the mean time that fits is found by bisection, within 1/16 of the short to 64 times the long window.
    #[must_use]
    pub fn from_two_windows(requests_per_second: f64, short: (Duration, f64), long: (Duration, f64)) -> Self {
        let (short_s, long_s) = (short.0.as_secs_f64(), long.0.as_secs_f64());
        let wanted = (long.1 - 1.0).max(0.0) / (short.1 - 1.0).max(1e-9);
        let (mut low, mut high) = ((short_s / 16.0).ln(), (long_s * 64.0).ln());
        for _ in 0..50 {
            let middle: f64 = 0.5 * (low + high);
            let memory = middle.exp();
            let ratio =
                fading_variance(memory, long_s) / long_s / (fading_variance(memory, short_s) / short_s);
            if ratio < wanted { low = middle } else { high = middle }
        }
        let memory = Duration::from_secs_f64((0.5 * (low + high)).exp());
        Self {
            dispersion: short.1,
            dispersion_window: short.0,
            rate_memory: RateMemory::Fading(memory),
            ..Self::poisson(requests_per_second)
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// The first number that is out of range.
    pub fn validate(&self) -> Result<(), FormulaError> {
        let check = |holds: bool, name| if holds { Ok(()) } else { Err(FormulaError::OutOfRange(name)) };
        let rate = self.requests_per_second;
        check(rate.is_finite() && rate > 0.0, "requests_per_second")?;
        check(self.dispersion.is_finite() && self.dispersion >= 0.0, "dispersion")?;
        check(!self.dispersion_window.is_zero(), "dispersion_window")?;
        check(self.rate_memory != RateMemory::Fading(Duration::ZERO), "rate_memory")
    }

    /// Standard deviation of the rate, in requests per second.
    #[must_use]
    pub fn rate_std(&self) -> f64 {
        let window = self.dispersion_window.as_secs_f64();
        let excess = (self.dispersion - 1.0).max(0.0) * self.requests_per_second * window;
        let unit = match self.rate_memory {
            RateMemory::Window => window * window,
            RateMemory::Fading(mean) => fading_variance(mean.as_secs_f64(), window),
        };
        (excess / unit).sqrt()
    }

    /// Mean time for which the rate keeps its value, in seconds.
    pub(crate) fn memory_seconds(&self) -> f64 {
        match self.rate_memory {
            RateMemory::Window => self.dispersion_window.as_secs_f64(),
            RateMemory::Fading(mean) => mean.as_secs_f64(),
        }
    }
}

/// Variance of ∫Λ over `window` seconds for a rate of variance 1 whose autocorrelation is exp(−t/memory).
fn fading_variance(memory: f64, window: f64) -> f64 {
    let lags = window / memory;
    if lags < 1e-4 {
        return window * window;
    }
    2.0 * memory * memory * (lags + (-lags).exp_m1())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_windows_tell_how_long_a_rate_lasts() {
        let second = Duration::from_secs(1);
        let law = ArrivalLaw {
            rate_memory: RateMemory::Fading(Duration::from_secs(3)),
            ..ArrivalLaw::over_dispersed(20.0, 4.0, second)
        };
        let long = 1.0 + law.rate_std().powi(2) * fading_variance(3.0, 8.0) / (20.0 * 8.0);
        let found = ArrivalLaw::from_two_windows(20.0, (second, 4.0), (8 * second, long));
        assert!((found.memory_seconds() / 3.0 - 1.0).abs() < 1e-6);
        assert!((found.rate_std() / law.rate_std() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn thinning_keeps_the_mean_and_nearly_the_spread() {
        let weights: Vec<f64> = (0..200).map(|at| 0.97_f64.powi(at)).collect();
        let items = ItemsPerRequest::new(weights).unwrap();
        let sizes = items.thinned();
        assert!(sizes.len() < 30 && sizes.windows(2).all(|pair| pair[0].0 < pair[1].0), "{sizes:?}");
        let moment = |power: i32| sizes.iter().map(|(k, p)| p * (*k as f64).powi(power)).sum::<f64>();
        assert!((moment(0) - 1.0).abs() < 1e-9 && (moment(1) / items.mean() - 1.0).abs() < 1e-9);
        assert!((moment(2) / items.mean_square - 1.0).abs() < 0.02);
        let few = ItemsPerRequest::new(vec![0.5, 0.0, 0.3, 0.2]).unwrap();
        assert_eq!(few.thinned(), [(1, 0.5), (3, 0.3), (4, 0.2)]);
        assert_eq!((few.reached(0.01), few.reached(0.25), ItemsPerRequest::one().reached(0.01)), (4, 3, 1));
    }

    #[test]
    fn thinned_sizes_ascend_whatever_their_weights_round_to() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let weights: Vec<f64> = (0..12)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 11) as f64 / (1_u64 << 53) as f64
                })
                .collect();
            let sizes = ItemsPerRequest::new(weights).unwrap().thinned();
            assert!(sizes.windows(2).all(|pair| pair[0].0 < pair[1].0), "{sizes:?}");
        }
    }

    #[test]
    fn weights_that_are_no_law_are_refused() {
        for weights in [vec![], vec![0.0], vec![-1.0, 2.0], vec![f64::NAN]] {
            assert!(ItemsPerRequest::new(weights).is_err());
        }
    }
}
