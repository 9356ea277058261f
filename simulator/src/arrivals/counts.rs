//! A trace of counts per second or minute: exactly so many arrivals in each cell, at independent uniform times.

use super::ArrivalProcess;
use crate::random::Random;

/// Arrivals by counts.
#[derive(Clone, Debug)]
pub struct Counts {
    counts: Vec<u32>,
    cell_seconds: f64,
    cell: usize,
    left: u32,
    at: f64,
}

impl Counts {
    /// So many arrivals in each cell of `cell_seconds`.
    #[must_use]
    pub fn new(counts: Vec<u32>, cell_seconds: f64) -> Self {
        let left = counts.first().copied().unwrap_or(0);
        Self { counts, cell_seconds, cell: 0, left, at: 0.0 }
    }
}

impl ArrivalProcess for Counts {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        while self.left == 0 {
            self.cell += 1;
            self.left = *self.counts.get(self.cell)?;
            self.at = self.cell as f64 * self.cell_seconds;
        }
        // The earliest of `left` uniform times in what remains of the cell.
        let end = (self.cell + 1) as f64 * self.cell_seconds;
        self.at += (end - self.at) * (1.0 - random.unit().powf(1.0 / f64::from(self.left)));
        self.left -= 1;
        Some(self.at)
    }
}
