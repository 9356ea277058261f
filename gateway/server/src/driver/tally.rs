//! What the driver counts of one model during one window, for the control loop. A few additions a request, no allocation, no lock.

use std::time::Duration;

use gateway_contract::{BinStats, ServiceObservation, ServiceOutcome, Timestamp, WindowStats};

use super::ClosedWindow;
use super::latency::LatencyHistogram;

/// Length of a bin: short enough to see what a batch of some hundred milliseconds sees.
const BIN: Duration = Duration::from_millis(100);

/// Counts since the window began.
#[derive(Debug, Default)]
pub(super) struct WindowTally {
    since: Timestamp,
    stats: WindowStats,
    latencies: LatencyHistogram,
    cold_starts: u64,
    bin: u64,
    in_bin: u64,
}

impl WindowTally {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// A request of `items` items arrived.
    #[inline]
    pub(super) fn arrived(&mut self, at: Timestamp, items: u32) {
        let items = u64::from(items);
        self.stats.requests += 1;
        self.stats.items += items;
        self.stats.items_squared += items * items;
        let bin = (at - self.since).as_nanos() / BIN.as_nanos();
        let bin = u64::try_from(bin).unwrap_or(u64::MAX);
        if bin > self.bin {
            self.close_bin();
            self.bin = bin;
        }
        self.in_bin += 1; // one that was overtaken on its way counts in the bin of those around it
    }

    fn close_bin(&mut self) {
        self.stats.bins.squared += self.in_bin * self.in_bin;
        self.in_bin = 0;
    }

    /// One was refused at the door.
    pub(super) fn shed(&mut self) {
        self.stats.shed += 1;
    }

    /// One was answered with a value.
    #[inline]
    pub(super) fn answered(&mut self, latency: Duration, slo_latency: Duration) {
        self.stats.answered += 1;
        self.stats.within_slo += u64::from(latency <= slo_latency);
        self.stats.latency_sum_s += latency.as_secs_f64();
        self.latencies.add(latency);
    }

    /// One ended without a value.
    pub(super) fn failed(&mut self) {
        self.stats.failed += 1;
    }

    /// A batch ended at the price of `cost_usd`.
    pub(super) fn batch(&mut self, observation: &ServiceObservation, is_throttled: bool, cost_usd: f64) {
        if is_throttled {
            self.stats.throttled += 1;
        }
        if observation.outcome != ServiceOutcome::NotRun {
            self.stats.batches += 1;
            self.stats.batch_items += u64::from(observation.items);
        }
        self.stats.cost_usd += cost_usd;
        if observation.billed_is_estimate {
            self.stats.estimated_cost_usd += cost_usd;
        }
        if observation.is_canary {
            self.stats.canary_cost_usd += cost_usd;
        }
        if observation.is_hold_out {
            self.stats.hold_out_cost_usd += cost_usd;
        }
        if observation.is_warm_hold_out() {
            self.stats.warm_hold_outs += 1;
            self.stats.warm_hold_out_cost_usd += cost_usd;
        }
        self.stats.work_units += observation.work_units;
        self.cold_starts += u64::from(observation.init.is_some());
    }

    /// Something else was paid for.
    pub(super) fn spend(&mut self, cost_usd: f64) {
        self.stats.cost_usd += cost_usd;
    }

    /// Ends the window and begins the next. How the model stands is left at zero.
    pub(super) fn close(&mut self, now: Timestamp, percentile: f64) -> ClosedWindow {
        self.close_bin();
        let mut stats = std::mem::take(&mut self.stats);
        stats.ended_at = now;
        stats.length = now - self.since;
        stats.latency_at_percentile = self.latencies.quantile(percentile);
        let bins = (stats.length.as_secs_f64() / BIN.as_secs_f64()).round().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "windows last hours at most"
        )]
        let bins = bins as u32;
        stats.bins = BinStats { length: BIN, bins, squared: stats.bins.squared };
        let closed = ClosedWindow {
            stats,
            latency_p50: self.latencies.quantile(0.5),
            latency_p99: self.latencies.quantile(0.99),
            cold_starts: std::mem::take(&mut self.cold_starts),
            ..ClosedWindow::default()
        };
        self.latencies.clear();
        (self.since, self.bin) = (now, 0);
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn arrivals_are_counted_in_all_and_by_bin() {
        let mut tally = WindowTally::new(at(500));
        for (ms, items) in [(500, 1), (510, 2), (599, 3), (600, 1), (1450, 1)] {
            tally.arrived(at(ms), items);
        }
        tally.shed();
        let stats = tally.close(at(1500), 0.99).stats;
        assert_eq!((stats.requests, stats.items, stats.items_squared, stats.shed), (5, 8, 16, 1));
        assert_eq!((stats.bins.bins, stats.bins.squared), (10, 9 + 1 + 1));
        assert_eq!((stats.length, stats.ended_at), (Duration::from_secs(1), at(1500)));
        let empty = tally.close(at(2500), 0.99).stats;
        assert_eq!((empty.requests, empty.bins.squared, empty.latency_at_percentile), (0, 0, None));
    }

    #[test]
    fn answers_are_judged_by_the_objective() {
        let mut tally = WindowTally::default();
        let slo = Duration::from_millis(100);
        for ms in [50, 100, 101] {
            tally.answered(Duration::from_millis(ms), slo);
        }
        tally.failed();
        let closed = tally.close(at(1000), 0.5);
        assert_eq!(closed.latency_p50, closed.stats.latency_at_percentile);
        assert!(closed.latency_p99 > closed.latency_p50);
        let stats = closed.stats;
        assert_eq!((stats.answered, stats.within_slo, stats.failed), (3, 2, 1));
        assert!((stats.latency_sum_s - 0.251).abs() < 1e-9);
        let median = stats.latency_at_percentile.unwrap().as_secs_f64();
        assert!((median / 0.1 - 1.0).abs() < 0.02, "{median}");
    }
}
