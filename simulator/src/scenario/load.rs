//! A load in phases: steady, rising and falling, swinging, gusty.
//!
//! Arrivals are Poisson at the rate of the moment (by thinning). Gusts multiply it by a gamma factor that is drawn anew each second, so that the
//! counts of a second have the asked dispersion.
//! Reference: Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", 1979.

use serde::Deserialize;

use super::error::ScenarioError;
use crate::arrivals::ArrivalProcess;
use crate::random::Random;

/// Length of a gust, seconds.
const GUST_S: f64 = 1.0;
/// Gusts above so many times the mean rate are cut there: thinning needs a bound.
const MAX_GUST: f64 = 12.0;

/// A stretch of the load.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How long, seconds.
    pub for_s: f64,
    /// Requests per second, at its beginning.
    pub per_s: f64,
    /// Requests per second at its end; straight between. Default: as at the beginning.
    pub to_per_s: Option<f64>,
    /// The rate swings by this share of itself, 0 to 1, like a sine. Default 0.
    #[serde(default)]
    pub swing: f64,
    /// Period of the swing, seconds. Default: the phase.
    pub period_s: Option<f64>,
    /// Variance over mean of the counts of a second, at least 1. Default 1: Poisson.
    #[serde(default = "poisson")]
    pub dispersion: f64,
}

fn poisson() -> f64 {
    1.0
}

impl Phase {
    /// Requests per second, so many seconds after its beginning, gusts left out.
    #[must_use]
    pub fn rate(&self, after_s: f64) -> f64 {
        let to = self.to_per_s.unwrap_or(self.per_s);
        let straight = self.per_s + (to - self.per_s) * after_s / self.for_s;
        let period = self.period_s.unwrap_or(self.for_s);
        straight * (1.0 + self.swing * (std::f64::consts::TAU * after_s / period).sin())
    }

    /// A bound of the rate, gusts left out.
    fn highest(&self) -> f64 {
        self.per_s.max(self.to_per_s.unwrap_or(0.0)) * (1.0 + self.swing)
    }

    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let holds = self.for_s > 0.0
            && self.per_s >= 0.0
            && self.to_per_s.is_none_or(|to| to >= 0.0)
            && (0.0..=1.0).contains(&self.swing)
            && self.period_s.is_none_or(|period| period > 0.0)
            && self.dispersion >= 1.0
            && self.highest() < 1e6;
        if holds { Ok(()) } else { Err(ScenarioError::field("load", format!("is out of range: {self:?}"))) }
    }
}

/// Arrivals of phases, one after the other.
#[derive(Clone, Debug)]
pub struct Phases {
    phases: Vec<Phase>,
    at: usize,
    /// Beginning of the phase, seconds.
    began_s: f64,
    now_s: f64,
    gust: f64,
    gust_ends_s: f64,
}

impl Phases {
    /// From 0 s on.
    #[must_use]
    pub fn new(phases: Vec<Phase>) -> Self {
        Self { phases, at: 0, began_s: 0.0, now_s: 0.0, gust: 1.0, gust_ends_s: 0.0 }
    }

    fn draw_gust(&mut self, phase: &Phase, random: &mut Random) {
        let mean = phase.rate(self.now_s - self.began_s) * GUST_S;
        self.gust = if phase.dispersion > 1.0 && mean > 0.0 {
            random.gamma(mean / (phase.dispersion - 1.0), 1.0).min(MAX_GUST)
        } else {
            1.0
        };
        self.gust_ends_s = self.now_s + GUST_S;
    }
}

impl ArrivalProcess for Phases {
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        loop {
            let phase = *self.phases.get(self.at)?;
            let ends_s = self.began_s + phase.for_s;
            if self.now_s >= self.gust_ends_s {
                self.draw_gust(&phase, random);
            }
            let highest = phase.highest() * self.gust;
            let until = ends_s.min(self.gust_ends_s);
            let next = if highest > 0.0 { self.now_s + random.exponential(highest) } else { f64::INFINITY };
            if next >= until {
                self.now_s = until;
                if until >= ends_s {
                    (self.at, self.began_s) = (self.at + 1, ends_s);
                    self.gust_ends_s = ends_s;
                }
                continue;
            }
            self.now_s = next;
            let rate = phase.rate(next - self.began_s) * self.gust;
            if random.unit() * highest < rate {
                return Some(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(for_s: f64, per_s: f64) -> Phase {
        Phase { for_s, per_s, to_per_s: None, swing: 0.0, period_s: None, dispersion: 1.0 }
    }

    fn counts(phases: Vec<Phase>, seconds: usize) -> Vec<f64> {
        let (mut process, mut random) = (Phases::new(phases), Random::new(5));
        let mut counts = vec![0.0; seconds];
        while let Some(at) = process.next(&mut random) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small second")]
            let second = at as usize;
            counts[second] += 1.0;
        }
        counts
    }

    fn mean(of: &[f64]) -> f64 {
        of.iter().sum::<f64>() / of.len() as f64
    }

    #[test]
    fn phases_follow_one_another_at_their_rates() {
        let ramp = Phase { to_per_s: Some(60.0), ..phase(1000.0, 20.0) };
        let counts = counts(vec![phase(1000.0, 20.0), phase(500.0, 0.0), ramp], 2500);
        assert!((mean(&counts[..1000]) / 20.0 - 1.0).abs() < 0.03);
        assert_eq!(mean(&counts[1000..1500]), 0.0);
        assert!((mean(&counts[1500..2500]) / 40.0 - 1.0).abs() < 0.03);
        assert!((mean(&counts[2400..]) / 58.0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn gusts_have_the_asked_dispersion_and_swings_their_height() {
        let gusty = counts(vec![Phase { dispersion: 4.0, ..phase(8000.0, 30.0) }], 8000);
        let average = mean(&gusty);
        let variance = mean(&gusty.iter().map(|count| (count - average).powi(2)).collect::<Vec<_>>());
        assert!((average / 30.0 - 1.0).abs() < 0.02, "{average}");
        assert!((variance / average / 4.0 - 1.0).abs() < 0.1, "{}", variance / average);
        let swing = counts(vec![Phase { swing: 0.8, ..phase(4000.0, 50.0) }], 4000);
        assert!((mean(&swing[900..1100]) / 90.0 - 1.0).abs() < 0.03);
        assert!((mean(&swing[2900..3100]) / 10.0 - 1.0).abs() < 0.06);
    }
}
