//! How many items a request has.

use crate::random::Random;

/// Draws items per request.
#[derive(Clone, Debug)]
pub struct ItemsSampler {
    cumulative: Vec<f64>,
}

impl ItemsSampler {
    /// From the probabilities of 1, 2, … items.
    #[must_use]
    pub fn new(pmf: &[f64]) -> Self {
        let mut sum = 0.0;
        let cumulative = pmf.iter().map(|p| {
            sum += p;
            sum
        });
        Self { cumulative: cumulative.collect() }
    }

    /// One request's items, at least 1.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> u32 {
        if self.cumulative.len() <= 1 {
            return 1;
        }
        let at = random.unit();
        let below = self.cumulative.partition_point(|&sum| sum < at).min(self.cumulative.len() - 1);
        u32::try_from(below + 1).unwrap_or(u32::MAX)
    }
}
