//! Draws from a seed, in the words that a generator of worlds uses.

use crate::random::Random;

pub(super) struct Draw(Random);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::new(seed ^ 0x57A1_D0C5_0F2B_9E37))
    }

    /// 0 to `bound` − 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    pub(super) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// `low` to `high`, both included.
    pub(super) fn count(&mut self, low: u64, high: u64) -> u32 {
        u32::try_from(low + self.below(high.saturating_sub(low) + 1)).unwrap_or(u32::MAX)
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.unit()
    }

    /// Even over the logarithm.
    pub(super) fn log_between(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + (high.ln() - low.ln()) * self.0.unit()).exp()
    }

    /// One of these; there must be one.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        &from[at]
    }
}
