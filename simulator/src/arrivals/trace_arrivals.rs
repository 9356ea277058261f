//! The arrivals of a trace: a count a step, then so many independent uniform times in it.

use super::ArrivalProcess;
use super::trace::{StepLaw, Trace};
use crate::random::Random;

/// Arrivals by a trace.
#[derive(Clone, Debug)]
pub struct TraceArrivals {
    values: Vec<f64>,
    step_seconds: f64,
    law: StepLaw,
    /// Steps begun.
    step: usize,
    left: u64,
    at: f64,
    end: f64,
}

impl TraceArrivals {
    /// From a trace's beginning.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        let (step_seconds, law) = (trace.step_seconds, trace.law);
        Self { values: trace.values.clone(), step_seconds, law, step: 0, left: 0, at: 0.0, end: 0.0 }
    }
}

/// How many of `count` are kept, each with this chance (0 to 1, both excluded): skips from one kept to the next.
fn thinned(count: f64, chance: f64, random: &mut Random) -> u64 {
    let ln_lost = (-chance).ln_1p();
    let (mut kept, mut place) = (0, 0.0);
    loop {
        place += (random.unit().ln() / ln_lost).floor() + 1.0;
        if place > count {
            return kept;
        }
        kept += 1;
    }
}

impl ArrivalProcess for TraceArrivals {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        while self.left == 0 {
            let value = *self.values.get(self.step)?;
            self.at = self.step as f64 * self.step_seconds;
            self.step += 1;
            self.end = self.step as f64 * self.step_seconds;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of a trace")]
            let exact = value as u64;
            self.left = match self.law {
                StepLaw::Exact => exact,
                _ if value <= 0.0 => 0,
                StepLaw::Thinned(chance) => thinned(value, chance, random),
                StepLaw::Poisson { rate_variance } if rate_variance > 0.0 => {
                    let factor = random.gamma(1.0 / rate_variance, 1.0);
                    random.poisson(value * factor)
                }
                StepLaw::Poisson { .. } => random.poisson(value),
            };
        }
        // The earliest of `left` uniform times in what remains of the step.
        let share =
            if self.left == 1 { random.unit() } else { 1.0 - (random.unit().ln() / self.left as f64).exp() };
        self.at += (self.end - self.at) * share;
        self.left -= 1;
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_is_binomial() {
        let mut random = Random::new(2);
        for (count, chance) in [(7.0, 0.3), (200.0, 0.05), (50.0, 0.97)] {
            let kept: Vec<f64> = (0..50_000).map(|_| thinned(count, chance, &mut random) as f64).collect();
            let mean = kept.iter().sum::<f64>() / 50_000.0;
            let variance = kept.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 50_000.0;
            assert!((mean / (count * chance) - 1.0).abs() < 0.02, "{count} {chance}: {mean}");
            assert!((variance / (count * chance * (1.0 - chance)) - 1.0).abs() < 0.05, "{variance}");
        }
    }

    #[test]
    fn times_in_a_step_are_uniform() {
        let trace = Trace::from_counts(vec![40.0; 2_000], 1.0).unwrap();
        let (mut arrivals, mut random) = (trace.arrivals(), Random::new(5));
        let mut quarter = [0_u32; 4];
        while let Some(at) = arrivals.next(&mut random) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a quarter")]
            let which = (at.fract() * 4.0) as usize;
            quarter[which] += 1;
        }
        assert!(quarter.iter().all(|&count| (f64::from(count) / 20_000.0 - 1.0).abs() < 0.03), "{quarter:?}");
    }
}
