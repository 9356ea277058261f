//! What the shell's driver would count in a window.

use std::time::Duration;

use gateway_contract::{BinStats, ServiceObservation, Timestamp, WindowStats};

/// Bins per window.
const BINS: u32 = 10;

/// A window that is being counted.
#[derive(Debug)]
pub(super) struct Counting {
    length_s: f64,
    began_s: f64,
    percentile: f64,
    stats: WindowStats,
    latencies_s: Vec<f64>,
    bins: [u64; BINS as usize],
}

impl Counting {
    pub(super) fn new(length: Duration, percentile: f64) -> Self {
        Self {
            length_s: length.as_secs_f64(),
            began_s: 0.0,
            percentile,
            stats: WindowStats::default(),
            latencies_s: Vec::new(),
            bins: [0; BINS as usize],
        }
    }

    /// End of the window, seconds.
    pub(super) fn ends_s(&self) -> f64 {
        self.began_s + self.length_s
    }

    pub(super) fn arrive(&mut self, at_s: f64, items: u32, is_shed: bool) {
        self.stats.requests += 1;
        self.stats.items += u64::from(items);
        self.stats.items_squared += u64::from(items) * u64::from(items);
        self.stats.shed += u64::from(is_shed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bin number")]
        let bin = ((at_s - self.began_s) / self.length_s * f64::from(BINS)) as usize;
        self.bins[bin.min(BINS as usize - 1)] += 1;
    }

    pub(super) fn answer(&mut self, latency_s: f64, slo_s: f64) {
        self.stats.answered += 1;
        self.stats.within_slo += u64::from(latency_s <= slo_s);
        self.stats.latency_sum_s += latency_s;
        self.latencies_s.push(latency_s);
    }

    pub(super) fn fail(&mut self) {
        self.stats.failed += 1;
    }

    pub(super) fn batch(&mut self, observation: &ServiceObservation, usd: f64, is_throttled: bool) {
        self.stats.batches += 1;
        self.stats.batch_items += u64::from(observation.items);
        self.stats.cost_usd += usd;
        self.stats.throttled += u64::from(is_throttled);
        if observation.billed_is_estimate {
            self.stats.estimated_cost_usd += usd;
        }
        if observation.is_canary {
            self.stats.canary_cost_usd += usd;
        }
    }

    /// Dollars that belong to no batch: environments that were warmed.
    pub(super) fn spend(&mut self, usd: f64) {
        self.stats.cost_usd += usd;
    }

    /// Ends the window and begins the next.
    pub(super) fn close(&mut self) -> WindowStats {
        let mut stats = std::mem::take(&mut self.stats);
        let end = self.ends_s();
        stats.ended_at = Timestamp::ZERO + Duration::from_secs_f64(end);
        stats.length = Duration::from_secs_f64(self.length_s);
        self.latencies_s.sort_unstable_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let index = (self.percentile * self.latencies_s.len() as f64) as usize;
        let at = self.latencies_s.get(index.min(self.latencies_s.len().saturating_sub(1)));
        stats.latency_at_percentile = at.map(|&seconds| Duration::from_secs_f64(seconds));
        self.latencies_s.clear();
        stats.bins = BinStats {
            length: Duration::from_secs_f64(self.length_s / f64::from(BINS)),
            bins: BINS,
            squared: self.bins.iter().map(|count| count * count).sum(),
        };
        self.bins = [0; BINS as usize];
        self.began_s = end;
        stats
    }
}
