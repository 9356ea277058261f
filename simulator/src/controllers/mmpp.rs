//! A Markov-modulated Poisson process of two phases, fitted to counts, and the law of counts after an arrival.
//!
//! The MAP(2) of BATCH and MBS, with arrivals in phase order: rates r₀ < r₁, exponential stays. *Fit:* mean, variance and skewness of the rate
//! from the counts of windows (the Poisson part taken off: μ₂ = var − λT, μ₃ = κ₃ − 3·μ₂ − λT; a window is taken to be short against a stay), the
//! decay of its autocorrelation from the dispersion at two scales.
//! *Counts:* the forward equations of (count, phase), started by an arrival, by steps of the midpoint rule.
//! Reference: Heffes and Lucantoni, "A Markov modulated characterization of packetized voice and data traffic", 1986; Casale, Zhang and
//! Smirni, "KPC-toolbox", 2008, for what BATCH fits.

use gateway_contract::WindowStats;

use crate::bounds::minute_arrivals;
use optimizer_tuner::formula::RateMemory;

/// Expected events of one step of integration.
const STEP_EVENTS: f64 = 0.1;
/// Smallest share of time in either phase.
const LEAST_SHARE: f64 = 0.02;

/// The process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmpp {
    /// Requests per second, slow phase first.
    pub rates: [f64; 2],
    /// Rate at which each phase is left, per second.
    pub leaving: [f64; 2],
}

impl Mmpp {
    /// Fits windows. `None`: nothing arrived.
    #[must_use]
    pub fn fit(windows: &[WindowStats]) -> Option<Self> {
        let whole = windows.iter().map(|window| window.length).sum();
        let law = minute_arrivals(windows, whole).into_iter().next()?.law?;
        let rate = law.requests_per_second;
        let memory_s = match law.rate_memory {
            RateMemory::Window => law.dispersion_window.as_secs_f64(),
            RateMemory::Fading(mean) => mean.as_secs_f64(),
        };
        let seconds = windows.first()?.length.as_secs_f64();
        let n = windows.len() as f64;
        let mean = rate * seconds;
        let moment = |power: i32| {
            windows.iter().map(|window| (window.requests as f64 - mean).powi(power)).sum::<f64>() / n
        };
        let std = law.rate_std().max(1e-9 * rate);
        // Of the rate's integral over a window: what is beyond Poisson.
        let variance = (moment(2) - mean).max(1e-9 * mean);
        let third = moment(3) - 3.0 * variance - mean;
        Some(Self::from_moments(rate, std, third / variance.powf(1.5), memory_s))
    }

    /// From mean and deviation of the rate, its skewness, and the mean time over which it is forgotten.
    #[must_use]
    pub fn from_moments(rate: f64, std: f64, skewness: f64, memory_s: f64) -> Self {
        // (1 − 2p)/√(p(1 − p)) = skewness, p the share of time in the fast phase.
        let high = 0.5 * (1.0 - skewness / (4.0 + skewness * skewness).sqrt());
        // The slow phase must not have a negative rate.
        let most = if std > 0.0 { 1.0 / (1.0 + (std / rate).powi(2)) } else { 0.5 };
        let high = high.clamp(LEAST_SHARE, 1.0 - LEAST_SHARE).min(most);
        let odds = (high / (1.0 - high)).sqrt();
        let rates = [(rate - std * odds).max(0.0), rate + std / odds];
        let decay = 1.0 / memory_s.max(1e-3);
        Self { rates, leaving: [high * decay, (1.0 - high) * decay] }
    }

    /// Share of time in the fast phase.
    #[must_use]
    pub fn fast_share(&self) -> f64 {
        self.leaving[0] / (self.leaving[0] + self.leaving[1])
    }

    /// Mean requests per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let fast = self.fast_share();
        (1.0 - fast) * self.rates[0] + fast * self.rates[1]
    }

    /// P(at least k further arrivals within t of an arrival), for each of the ascending times `at_s` and k up to `most`: index \[time\]\[k\].
    #[must_use]
    pub fn tails(&self, at_s: &[f64], most: usize) -> Vec<Vec<f64>> {
        let fast = self.fast_share();
        let first = [(1.0 - fast) * self.rates[0], fast * self.rates[1]];
        let sum = (first[0] + first[1]).max(1e-300);
        // State: count (the last absorbs) by phase.
        let mut state = vec![[0.0_f64; 2]; most + 1];
        state[0] = [first[0] / sum, first[1] / sum];
        let fastest = (0..2).map(|phase| self.rates[phase] + self.leaving[phase]).fold(1e-9, f64::max);
        let mut now_s = 0.0;
        let mut tails = Vec::with_capacity(at_s.len());
        for &until_s in at_s {
            let span = (until_s - now_s).max(0.0);
            let steps = (span * fastest / STEP_EVENTS).ceil().max(1.0);
            let step = span / steps;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of steps")]
            for _ in 0..steps as u64 {
                self.step(&mut state, step);
            }
            now_s = until_s;
            let mut above = 0.0;
            let mut row = vec![0.0; most + 1];
            for (tail, phases) in row.iter_mut().zip(&state).rev() {
                above += phases[0] + phases[1];
                *tail = above;
            }
            tails.push(row);
        }
        tails
    }

    /// One step of the midpoint rule.
    fn step(&self, state: &mut [[f64; 2]], seconds: f64) {
        let last = state.len() - 1;
        let slope = |at: &dyn Fn(usize) -> [f64; 2], k: usize| {
            let here = at(k);
            let before = if k > 0 { at(k - 1) } else { [0.0; 2] };
            let mut change = [0.0; 2];
            for phase in 0..2 {
                let other = 1 - phase;
                let moves = self.leaving[other] * here[other] - self.leaving[phase] * here[phase];
                let goes = if k < last { self.rates[phase] * here[phase] } else { 0.0 };
                change[phase] = moves - goes + self.rates[phase] * before[phase];
            }
            change
        };
        let start = state.to_vec();
        let half: Vec<[f64; 2]> = (0..=last)
            .map(|k| {
                let change = slope(&|k| start[k], k);
                [start[k][0] + 0.5 * seconds * change[0], start[k][1] + 0.5 * seconds * change[1]]
            })
            .collect();
        for k in 0..=last {
            let change = slope(&|k| half[k], k);
            state[k] = [start[k][0] + seconds * change[0], start[k][1] + seconds * change[1]];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::{ArrivalProcess as _, Mmpp2};
    use crate::random::Random;

    #[test]
    fn a_nearly_even_process_counts_like_poisson() {
        let process = Mmpp::from_moments(20.0, 0.01, 0.0, 1.0);
        let tails = process.tails(&[0.05, 0.2], 6);
        for (row, mean) in tails.iter().zip([1.0_f64, 4.0]) {
            let (mut term, mut below) = ((-mean).exp(), 0.0);
            for (k, tail) in row.iter().enumerate() {
                assert!((tail - (1.0 - below)).abs() < 2e-3, "{k}: {tail} {}", 1.0 - below);
                below += term;
                term *= mean / (k as f64 + 1.0);
            }
        }
    }

    #[test]
    fn moments_come_back_and_rates_are_never_negative() {
        for (std, skewness) in [(4.0, 0.0), (8.0, 2.0), (30.0, -1.0)] {
            let process = Mmpp::from_moments(10.0, std, skewness, 2.0);
            assert!((process.rate() - 10.0).abs() < 1e-6, "{process:?}");
            assert!(process.rates[0] >= 0.0);
            let fast = process.fast_share();
            let variance = fast * (1.0 - fast) * (process.rates[1] - process.rates[0]).powi(2);
            assert!((variance.sqrt() / std - 1.0).abs() < 1e-6, "{process:?}");
        }
    }

    #[test]
    fn a_switching_process_is_found_again_in_its_counts() {
        let mut source = Mmpp2::new([5.0, 50.0], [20.0, 5.0]);
        let mut random = Random::new(11);
        let mut windows = vec![WindowStats::default(); 20_000];
        let (mut bins, mut bin, mut count) = (vec![0_u64; windows.len()], 0, 0_u64);
        while let Some(at) = source.next(&mut random).filter(|&at| at < windows.len() as f64) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
            let (window, tenth) = (at as usize, (at * 10.0) as usize);
            windows[window].requests += 1;
            if tenth != bin {
                bins[bin / 10] += count * count;
                (bin, count) = (tenth, 0);
            }
            count += 1;
        }
        for (window, squared) in windows.iter_mut().zip(bins) {
            window.length = std::time::Duration::from_secs(1);
            window.bins.length = std::time::Duration::from_millis(100);
            window.bins.bins = 10;
            window.bins.squared = squared;
        }
        let found = Mmpp::fit(&windows).unwrap();
        assert!((found.rates[0] - 5.0).abs() < 3.0 && (found.rates[1] / 50.0 - 1.0).abs() < 0.2, "{found:?}");
        assert!((found.fast_share() - 0.2).abs() < 0.06, "{found:?}");
    }
}
