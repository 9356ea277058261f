//! Delays of one step over its repetitions; a missed step counts as infinite.

/// Delays in windows; the window of the step itself is 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delays {
    windows: Vec<f64>,
}

impl Delays {
    pub(crate) fn push(&mut self, delay: Option<u32>) {
        self.windows.push(delay.map_or(f64::INFINITY, f64::from));
    }

    /// The value that the share `level` of delays does not exceed (nearest rank).
    pub(crate) fn quantile(&self, level: f64) -> f64 {
        let mut sorted = self.windows.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (0..sorted.len()).find(|rank| (*rank + 1) as f64 >= level * sorted.len() as f64);
        rank.map_or(f64::INFINITY, |rank| sorted[rank])
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn missed_share(&self) -> f64 {
        self.windows.iter().filter(|delay| delay.is_infinite()).count() as f64
            / self.windows.len().max(1) as f64
    }

    pub(crate) fn count(&self) -> usize {
        self.windows.len()
    }
}
