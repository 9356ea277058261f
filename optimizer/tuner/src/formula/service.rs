//! The time that a warm invocation takes, as a law: log-normal seconds, what Lambda bills of them, and how often they are late.
//!
//! Deliberately absent: where the law comes from. The surrogate learns it; tests and the simulator state it.

use super::special::{normal_quantile, normal_upper};

/// Lambda bills whole milliseconds, rounded up.
const BILLING_SECONDS: f64 = 1e-3;
/// From this spread on (in billing steps) the fraction of a step that rounding adds is a half, to 1e-4 of a step:
/// the first harmonic of the rounding error is exp(−2π²s²)/π.
const SMOOTH_STEPS: f64 = 0.65;

/// Log-normal seconds: `exp(ln_mean + ln_std · Z)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogNormal {
    /// Mean of the logarithm of seconds.
    pub ln_mean: f64,
    /// Standard deviation of the logarithm, at least 0.
    pub ln_std: f64,
}

/// Warm service time by batch size and rung.
pub trait ServiceLaw {
    /// Law of the billed seconds of a batch of `items` on rung `rung`.
    fn billed_seconds(&self, items: u32, rung: usize) -> LogNormal;

    /// Seconds that the caller sees beside the billed ones (network, encoding): not billed, taken as fixed.
    fn overhead_seconds(&self, items: u32, rung: usize) -> f64;
}

impl LogNormal {
    /// From mean seconds and coefficient of variation.
    #[must_use]
    pub fn from_mean(mean_seconds: f64, coefficient_of_variation: f64) -> Self {
        let variance = (coefficient_of_variation * coefficient_of_variation).ln_1p();
        Self { ln_mean: mean_seconds.ln() - variance / 2.0, ln_std: variance.sqrt() }
    }

    /// Mean in seconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        (self.ln_mean + self.ln_std * self.ln_std / 2.0).exp()
    }

    /// The seconds below which a share of `probability` (0 to 1, both excluded) lies.
    #[must_use]
    pub fn quantile(&self, probability: f64) -> f64 {
        (self.ln_mean + self.ln_std * normal_quantile(probability)).exp()
    }

    /// P(S > seconds).
    #[must_use]
    pub fn upper_tail(&self, seconds: f64) -> f64 {
        if seconds <= 0.0 {
            return 1.0;
        }
        normal_upper((seconds.ln() - self.ln_mean) / self.ln_std.max(1e-9))
    }

    /// E[(S − seconds)⁺], the integral of [`LogNormal::upper_tail`] from `seconds` to infinity.
    #[must_use]
    pub fn expected_excess(&self, seconds: f64) -> f64 {
        if seconds <= 0.0 {
            return self.mean() - seconds;
        }
        let spread = self.ln_std.max(1e-9);
        let z = (seconds.ln() - self.ln_mean) / spread;
        if z > 7.5 {
            return 0.0;
        }
        if z < -7.5 {
            return self.mean() - seconds;
        }
        (self.mean() * normal_upper(z - spread) - seconds * normal_upper(z)).max(0.0)
    }

    /// E[S rounded up to whole milliseconds], in seconds: Σₖ P(S > k ms) where the law is narrow, else the mean and half a step.
    #[must_use]
    pub fn expected_billed(&self) -> f64 {
        let mean = self.mean();
        let std = mean * (self.ln_std * self.ln_std).exp_m1().max(0.0).sqrt();
        if std >= SMOOTH_STEPS * BILLING_SECONDS {
            return mean + self.rounding_below_a_step(mean);
        }
        // Narrow: below six deviations every step counts in full, above eight none does.
        let first = ((mean - 6.0 * std) / BILLING_SECONDS).floor().max(0.0);
        let mut steps = first;
        let mut at = first;
        loop {
            let tail = self.upper_tail(at * BILLING_SECONDS);
            steps += tail;
            at += 1.0;
            if tail < 1e-9 || at - first > 32.0 {
                return steps * BILLING_SECONDS;
            }
        }
    }

    /// Half a step, but for laws with mass near zero, where the shortest times are rounded up by nearly a whole one.
    fn rounding_below_a_step(&self, mean: f64) -> f64 {
        if mean > 8.0 * BILLING_SECONDS || self.upper_tail(BILLING_SECONDS) > 0.999 {
            return 0.5 * BILLING_SECONDS;
        }
        let sum: f64 = (0..64).map(|step| self.upper_tail(f64::from(step) * BILLING_SECONDS)).sum();
        let beyond = self.expected_excess(63.5 * BILLING_SECONDS);
        sum * BILLING_SECONDS + beyond - mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// E[⌈S⌉] by direct summation of tails.
    fn billed_by_sum(law: &LogNormal) -> f64 {
        (0..200_000).map(|step| law.upper_tail(f64::from(step) * 1e-3)).sum::<f64>() * 1e-3
    }

    #[test]
    fn billed_time_is_the_sum_of_tails() {
        for mean in [0.000_4, 0.001_2, 0.002_9, 0.006_4, 0.05, 0.8] {
            for cv in [0.001, 0.02, 0.1, 0.4, 1.0] {
                let law = LogNormal::from_mean(mean, cv);
                let (by_formula, by_sum) = (law.expected_billed(), billed_by_sum(&law));
                assert!((by_formula / by_sum - 1.0).abs() < 2e-3, "{mean} {cv}: {by_formula} {by_sum}");
            }
        }
    }

    #[test]
    fn the_excess_is_the_integral_of_the_tail() {
        let law = LogNormal::from_mean(0.1, 0.3);
        let step = 1e-5;
        let integral: f64 = (0..100_000).map(|at| law.upper_tail(0.12 + (f64::from(at) + 0.5) * step)).sum();
        assert!((law.expected_excess(0.12) - integral * step).abs() < 1e-6);
        assert!((law.expected_excess(-1.0) - 1.1).abs() < 1e-12);
    }

    #[test]
    fn mean_and_quantile_match_the_parameters() {
        let law = LogNormal::from_mean(0.25, 0.2);
        assert!((law.mean() - 0.25).abs() < 1e-12);
        assert!((law.upper_tail(law.quantile(0.99)) - 0.01).abs() < 2e-4);
    }
}
