//! Service times as the latency law asks for them thousands of times: with bounds outside which nothing need be computed.
//!
//! The same figures as [`LogNormal::upper_tail`] and [`LogNormal::expected_excess`], to 1e-7.

use super::service::LogNormal;
use super::special::normal_upper;

/// Deviations beyond which a tail is zero or one.
const FAR: f64 = 5.3;

/// The service of one batch size, seen by the caller.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    ln_mean: f64,
    spread: f64,
    mean: f64,
    /// Seconds that hardly any service undercuts, or exceeds; with the overhead.
    shortest: f64,
    longest: f64,
    /// Of the caller alone, not billed.
    overhead: f64,
}

impl Served {
    pub(crate) fn new(law: LogNormal, overhead: f64) -> Self {
        let spread = law.ln_std.max(1e-9);
        let shortest = (law.ln_mean - FAR * spread).exp() + overhead;
        let longest = (law.ln_mean + (FAR + spread) * spread).exp() + overhead;
        Self { ln_mean: law.ln_mean, spread, mean: law.mean(), shortest, longest, overhead }
    }

    /// Seconds that hardly any service exceeds.
    pub(crate) fn longest(&self) -> f64 {
        self.longest
    }

    /// P(U + S > seconds), U uniform between two times.
    #[inline]
    pub(crate) fn tail_after(&self, low: f64, high: f64, seconds: f64) -> f64 {
        if seconds - low <= self.shortest {
            // Even the shortest wait and service take longer.
            return 1.0;
        }
        if seconds - high >= self.longest {
            return 0.0;
        }
        if high - low < 1e-6 {
            return self.tail(seconds - low);
        }
        (self.excess(seconds - high) - self.excess(seconds - low)) / (high - low)
    }

    #[inline]
    fn tail(&self, seconds: f64) -> f64 {
        normal_upper(((seconds - self.overhead).ln() - self.ln_mean) / self.spread)
    }

    #[inline]
    fn excess(&self, seconds: f64) -> f64 {
        if seconds <= self.shortest {
            return self.mean + self.overhead - seconds;
        }
        if seconds >= self.longest {
            return 0.0;
        }
        let left = seconds - self.overhead;
        let z = (left.ln() - self.ln_mean) / self.spread;
        (self.mean * normal_upper(z - self.spread) - left * normal_upper(z)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_change_nothing() {
        for spread in [0.0, 0.05, 0.3, 1.0] {
            let law = LogNormal { ln_mean: -2.0, ln_std: spread };
            let served = Served::new(law, 0.004);
            for step in 0..400 {
                let seconds = f64::from(step) * 0.002;
                let point = law.upper_tail(seconds - 0.004 - 0.01);
                assert!((served.tail_after(0.01, 0.01, seconds) - point).abs() < 1e-6, "{spread} {seconds}");
                let between = |at: f64| law.expected_excess(seconds - 0.004 - at);
                let uniform = (between(0.1) - between(0.01)) / 0.09;
                let error = served.tail_after(0.01, 0.1, seconds) - uniform;
                assert!(error.abs() < 2e-6, "{spread} {seconds}: {error}");
            }
        }
    }
}
