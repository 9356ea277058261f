//! Arrivals at one of two rates, switching after exponential times.

use super::ArrivalProcess;
use crate::random::Random;

/// Markov-modulated Poisson arrivals with two states.
#[derive(Clone, Debug)]
pub struct Mmpp2 {
    rates: [f64; 2],
    mean_stays: [f64; 2],
    state: usize,
    at: f64,
    until: f64,
}

impl Mmpp2 {
    /// Requests per second and mean stay in seconds, by state. Begins in state 0.
    #[must_use]
    pub fn new(rates: [f64; 2], mean_stays: [f64; 2]) -> Self {
        Self { rates, mean_stays, state: 1, at: 0.0, until: 0.0 }
    }
}

impl ArrivalProcess for Mmpp2 {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        loop {
            let rate = self.rates[self.state];
            let next = if rate > 0.0 { self.at + random.exponential(rate) } else { f64::INFINITY };
            if next < self.until {
                self.at = next;
                return Some(next);
            }
            self.state = 1 - self.state;
            self.at = self.until;
            self.until += random.exponential(1.0 / self.mean_stays[self.state]);
        }
    }
}
