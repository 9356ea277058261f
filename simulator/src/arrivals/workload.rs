//! Generated workloads of the kinds that published traces are of, for use without trace files: expected rates by the second, made from a seed.
//!
//! Kinds, and what they stand for: a day with bursts (social media), steps between levels (an application's hours), spikes on a calm load, periods
//! and sporadic calls (functions of a public cloud), a square wave (load tests). Each is scaled to the asked mean; arrivals are Poisson given the rate.

use serde::{Deserialize, Serialize};

use super::{ArrivalError, Trace, above_zero};
use crate::random::Random;

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One rate.
    Steady,
    /// A day's rise and fall (in as many seconds as the workload has, at most a day), a rate that wanders by some per cent, and bursts of half a minute.
    Diurnal,
    /// Levels between a quarter and four times each other, each held for ten to thirty minutes.
    Steps,
    /// A calm rate with spikes of five to ten times it, two minutes long, twice an hour.
    Spikes,
    /// A rise to a peak and a fall to a tenth of it, every ten minutes.
    Periodic,
    /// Nothing, most of the time; calls of one to three minutes in between.
    Sporadic,
    /// Half of the time nothing, half of the time twice the mean, five minutes each.
    Square,
}

impl Shape {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Steady,
        Self::Diurnal,
        Self::Steps,
        Self::Spikes,
        Self::Periodic,
        Self::Sporadic,
        Self::Square,
    ];

    /// Its name, as in a specification.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Diurnal => "diurnal",
            Self::Steps => "steps",
            Self::Spikes => "spikes",
            Self::Periodic => "periodic",
            Self::Sporadic => "sporadic",
            Self::Square => "square",
        }
    }

    /// A workload of this kind: expected rates by the second.
    ///
    /// # Errors
    /// A rate or a time that is not above 0.
    pub fn workload(self, mean_rps: f64, seconds: f64, seed: u64) -> Result<Trace, ArrivalError> {
        above_zero("mean_rps", mean_rps)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a workload")]
        let count = above_zero("seconds", seconds)?.ceil() as usize;
        let mut random = Random::new(seed);
        let mut rates = self.rates(count, &mut random);
        let mean = rates.iter().sum::<f64>() / count as f64;
        if mean <= 0.0 {
            // Too short for a sporadic call: one at its end.
            rates[count - 1] = 1.0;
        }
        Trace::from_rates(rates, 1.0)?.scaled_to(mean_rps)
    }

    fn rates(self, count: usize, random: &mut Random) -> Vec<f64> {
        let by_second =
            |rate: &dyn Fn(f64) -> f64| (0..count).map(|second| rate(second as f64)).collect::<Vec<f64>>();
        let turn = |seconds: f64, period: f64| (std::f64::consts::TAU * seconds / period).cos();
        match self {
            Self::Steady => vec![1.0; count],
            Self::Diurnal => diurnal(count, random),
            Self::Steps => held(count, random, |random| {
                let level = 2.0_f64.powf(4.0 * random.unit() - 2.0);
                (level, 600.0 + 1200.0 * random.unit())
            }),
            Self::Spikes => {
                let mut is_spike = true;
                held(count, random, |random| {
                    is_spike = !is_spike;
                    if is_spike {
                        (5.0 + 5.0 * random.unit(), 120.0)
                    } else {
                        (1.0, 1200.0 + 900.0 * random.unit())
                    }
                })
            }
            Self::Periodic => by_second(&|at| (0.55 - 0.45 * turn(at, 600.0)).powi(2)),
            Self::Sporadic => {
                let mut is_call = true;
                held(count, random, |random| {
                    is_call = !is_call;
                    if is_call {
                        (0.3 + 0.7 * random.unit(), 60.0 + 120.0 * random.unit())
                    } else {
                        (0.0, random.exponential(1.0 / 240.0))
                    }
                })
            }
            Self::Square => by_second(&|at| if (at / 600.0).fract() < 0.5 { 1.0 } else { 0.0 }),
        }
    }
}

/// Rates each held for a while.
fn held(count: usize, random: &mut Random, mut next: impl FnMut(&mut Random) -> (f64, f64)) -> Vec<f64> {
    let (mut rates, mut end) = (Vec::with_capacity(count), 0.0);
    let mut level = 0.0;
    for second in 0..count {
        while second as f64 >= end {
            let (next_level, seconds) = next(random);
            level = next_level;
            end += seconds.max(1.0);
        }
        rates.push(level);
    }
    rates
}

/// A day's curve, times a slow wander (relaxing within five minutes, 8 % wide), times bursts (every twenty minutes, up to three times, half a minute).
fn diurnal(count: usize, random: &mut Random) -> Vec<f64> {
    const DAY_SECONDS: f64 = 86_400.0;
    const RELAX_SECONDS: f64 = 300.0;
    const WANDER: f64 = 0.08;
    let period = (count as f64).min(DAY_SECONDS);
    let (mut wander, mut burst, mut burst_left) = (0.0, 1.0, 0.0);
    let step = WANDER * (2.0 / RELAX_SECONDS).sqrt();
    let mut rates = Vec::with_capacity(count);
    for second in 0..count {
        wander += -wander / RELAX_SECONDS + step * random.normal();
        if burst_left <= 0.0 && random.unit() < 1.0 / 1200.0 {
            (burst, burst_left) = (1.5 + 1.5 * random.unit(), 15.0 + 30.0 * random.unit());
        }
        burst_left -= 1.0;
        let day = 1.0 - 0.6 * (std::f64::consts::TAU * second as f64 / period).cos();
        rates.push(day * wander.exp() * if burst_left > 0.0 { burst } else { 1.0 });
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_asked_mean_and_length_and_repeats_by_seed() {
        for shape in Shape::ALL {
            let trace = shape.workload(20.0, 7200.0, 3).unwrap();
            assert!((trace.mean_rps() / 20.0 - 1.0).abs() < 1e-9, "{shape:?}");
            assert!((trace.seconds() - 7200.0).abs() < 1e-9);
            assert_eq!(trace, shape.workload(20.0, 7200.0, 3).unwrap());
            assert!(trace.rates_rps().iter().all(|rate| *rate >= 0.0 && rate.is_finite()), "{shape:?}");
        }
    }

    #[test]
    fn kinds_differ_as_their_names_say() {
        let rates = |shape: Shape| shape.workload(20.0, 14_400.0, 5).unwrap().rates_over(60.0);
        let most = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
        let idle =
            |rates: &[f64]| rates.iter().filter(|rate| **rate < 0.01).count() as f64 / rates.len() as f64;
        assert!(most(&rates(Shape::Spikes)) > 60.0);
        assert!(idle(&rates(Shape::Sporadic)) > 0.3);
        assert!((idle(&rates(Shape::Square)) - 0.5).abs() < 0.05);
        assert!(idle(&rates(Shape::Diurnal)) < 0.01 && most(&rates(Shape::Diurnal)) > 28.0);
        assert!(most(&rates(Shape::Steady)) < 20.001);
    }

    #[test]
    fn a_name_is_what_a_specification_says() {
        for shape in Shape::ALL {
            let text = serde_json::to_string(&shape).unwrap();
            assert_eq!(text, format!("\"{}\"", shape.name()));
        }
    }

    #[test]
    fn a_short_sporadic_workload_still_has_a_request() {
        assert!(Shape::Sporadic.workload(1.0, 3.0, 1).unwrap().mean_rps() > 0.0);
        assert!(Shape::Steady.workload(0.0, 3.0, 1).is_err() && Shape::Steady.workload(1.0, 0.0, 1).is_err());
    }
}
