//! What the server's driver counts in a window, counted the same way; and the records made of it.

use std::time::Duration;

use gateway_contract::{BinStats, ServiceObservation, ServiceOutcome, Timestamp, WindowStats};

use super::config::Records;
use super::controller::ControllerCounts;
use super::report::WindowRecord;

/// Length of a bin in nanoseconds, as in the server.
const BIN: u64 = 100_000_000;

/// A window that is being counted.
#[derive(Debug)]
pub(super) struct Tally {
    since: u64,
    percentile: f64,
    stats: WindowStats,
    latencies: Vec<u64>,
    bin: u64,
    in_bin: u64,
    /// Beside what the gateway knows.
    usd: f64,
    cold_starts: u64,
}

impl Tally {
    pub(super) fn new(percentile: f64) -> Self {
        Self {
            since: 0,
            percentile,
            stats: WindowStats::default(),
            latencies: Vec::new(),
            bin: 0,
            in_bin: 0,
            usd: 0.0,
            cold_starts: 0,
        }
    }

    #[inline]
    pub(super) fn arrive(&mut self, at: u64, items: u32, is_shed: bool) {
        let items = u64::from(items);
        self.stats.requests += 1;
        self.stats.items += items;
        self.stats.items_squared += items * items;
        self.stats.shed += u64::from(is_shed);
        let bin = (at - self.since) / BIN;
        if bin > self.bin {
            self.close_bin();
            self.bin = bin;
        }
        self.in_bin += 1;
    }

    fn close_bin(&mut self) {
        self.stats.bins.squared += self.in_bin * self.in_bin;
        self.in_bin = 0;
    }

    #[inline]
    pub(super) fn answer(&mut self, latency: u64, is_within_slo: bool) {
        self.stats.answered += 1;
        self.stats.within_slo += u64::from(is_within_slo);
        self.stats.latency_sum_s += latency as f64 / 1e9;
        self.latencies.push(latency);
    }

    pub(super) fn fail(&mut self) {
        self.stats.failed += 1;
    }

    /// A batch ended: `known_usd` as far as the gateway knows, `usd` in truth.
    pub(super) fn batch(
        &mut self,
        observation: &ServiceObservation,
        is_throttled: bool,
        known_usd: f64,
        usd: f64,
    ) {
        self.stats.throttled += u64::from(is_throttled);
        if observation.outcome != ServiceOutcome::NotRun {
            self.stats.batches += 1;
            self.stats.batch_items += u64::from(observation.items);
        }
        self.stats.cost_usd += known_usd;
        if observation.billed_is_estimate {
            self.stats.estimated_cost_usd += known_usd;
        }
        if observation.is_canary {
            self.stats.canary_cost_usd += known_usd;
        }
        if observation.is_hold_out {
            self.stats.hold_out_cost_usd += known_usd;
        }
        if observation.is_warm_hold_out() {
            self.stats.warm_hold_outs += 1;
            self.stats.warm_hold_out_cost_usd += known_usd;
        }
        self.stats.work_units += observation.work_units;
        self.usd += usd;
        self.cold_starts += u64::from(observation.init.is_some());
    }

    /// Dollars that belong to no batch: an environment that was warmed.
    pub(super) fn spend(&mut self, usd: f64) {
        self.stats.cost_usd += usd;
        self.usd += usd;
    }

    /// Ends the window and begins the next.
    pub(super) fn close(&mut self, now: u64) -> Closed {
        self.close_bin();
        let mut stats = std::mem::take(&mut self.stats);
        stats.ended_at = Timestamp::from_nanos(now);
        stats.length = Duration::from_nanos(now - self.since);
        stats.latency_at_percentile = quantile(&mut self.latencies, self.percentile);
        self.latencies.clear();
        let bins = u32::try_from((now - self.since + BIN / 2) / BIN).unwrap_or(u32::MAX).max(1);
        stats.bins = BinStats { length: Duration::from_nanos(BIN), bins, squared: stats.bins.squared };
        (self.since, self.bin) = (now, 0);
        Closed {
            stats,
            usd: std::mem::take(&mut self.usd),
            cold_starts: std::mem::take(&mut self.cold_starts),
        }
    }

    /// Latencies of the window so far, nanoseconds in any order.
    pub(super) fn latencies(&self) -> &[u64] {
        &self.latencies
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.usd == 0.0 && self.stats == WindowStats::default()
    }
}

/// A window that was counted.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) stats: WindowStats,
    pub(super) usd: f64,
    pub(super) cold_starts: u64,
}

/// The value that a share of `probability` does not exceed: of n, the one at ⌈probability · n⌉.
fn quantile(values: &mut [u64], probability: f64) -> Option<Duration> {
    let last = values.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count, clamped to it"
    )]
    let rank = (probability * values.len() as f64).ceil() as usize;
    let (_, value, _) = values.select_nth_unstable(rank.saturating_sub(1).min(last));
    Some(Duration::from_nanos(*value))
}

/// Makes records of windows.
#[derive(Debug)]
pub(super) struct Recorder {
    per_record: u32,
    pending: Option<WindowRecord>,
    merged: u32,
    latencies: Vec<u64>,
    percentile: f64,
}

impl Recorder {
    pub(super) fn new(records: Records, percentile: f64) -> Self {
        let per_record = match records {
            Records::None => 0,
            Records::Every => 1,
            Records::Merged(windows) => windows,
        };
        Self { per_record, pending: None, merged: 0, latencies: Vec::new(), percentile }
    }

    pub(super) fn wants_windows(&self) -> bool {
        self.per_record > 0
    }

    /// Keeps the latencies of a window that is about to close, if it will be merged.
    pub(super) fn note(&mut self, latencies: &[u64]) {
        if self.per_record > 1 {
            self.latencies.extend_from_slice(latencies);
        }
    }

    /// Takes a window; gives the record that it completes.
    pub(super) fn add(
        &mut self,
        closed: Closed,
        revision: u64,
        counts: ControllerCounts,
    ) -> Option<WindowRecord> {
        if self.per_record == 0 {
            return None;
        }
        let Closed { stats, usd, cold_starts } = closed;
        let record = match self.pending.take() {
            None => WindowRecord { stats, usd, cold_starts, revision, counts },
            Some(before) => WindowRecord {
                stats: merge(before.stats, &stats),
                usd: before.usd + usd,
                cold_starts: before.cold_starts + cold_starts,
                revision,
                counts,
            },
        };
        self.merged += 1;
        self.pending = Some(record);
        if self.merged >= self.per_record { self.flush() } else { None }
    }

    /// The record that is not complete yet.
    pub(super) fn flush(&mut self) -> Option<WindowRecord> {
        let mut record = self.pending.take()?;
        if self.per_record > 1 {
            record.stats.latency_at_percentile = quantile(&mut self.latencies, self.percentile);
            self.latencies.clear();
        }
        self.merged = 0;
        Some(record)
    }
}

/// Two windows that follow one another, as one.
fn merge(before: WindowStats, after: &WindowStats) -> WindowStats {
    WindowStats {
        ended_at: after.ended_at,
        length: before.length + after.length,
        requests: before.requests + after.requests,
        items: before.items + after.items,
        items_squared: before.items_squared + after.items_squared,
        bins: BinStats {
            length: after.bins.length,
            bins: before.bins.bins + after.bins.bins,
            squared: before.bins.squared + after.bins.squared,
        },
        answered: before.answered + after.answered,
        within_slo: before.within_slo + after.within_slo,
        shed: before.shed + after.shed,
        failed: before.failed + after.failed,
        latency_sum_s: before.latency_sum_s + after.latency_sum_s,
        latency_at_percentile: None,
        batches: before.batches + after.batches,
        batch_items: before.batch_items + after.batch_items,
        throttled: before.throttled + after.throttled,
        cost_usd: before.cost_usd + after.cost_usd,
        estimated_cost_usd: before.estimated_cost_usd + after.estimated_cost_usd,
        canary_cost_usd: before.canary_cost_usd + after.canary_cost_usd,
        hold_out_cost_usd: before.hold_out_cost_usd + after.hold_out_cost_usd,
        warm_hold_outs: before.warm_hold_outs + after.warm_hold_outs,
        warm_hold_out_cost_usd: before.warm_hold_out_cost_usd + after.warm_hold_out_cost_usd,
        work_units: before.work_units + after.work_units,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn arrivals_are_counted_in_all_and_by_bin() {
        let mut tally = Tally::new(0.99);
        tally.close(500 * MS);
        for (ms, items) in [(500, 1), (510, 2), (599, 3), (600, 1), (1450, 1)] {
            tally.arrive(ms * MS, items, ms == 1450);
        }
        let stats = tally.close(1500 * MS).stats;
        assert_eq!((stats.requests, stats.items, stats.items_squared, stats.shed), (5, 8, 16, 1));
        assert_eq!((stats.bins.bins, stats.bins.squared), (10, 9 + 1 + 1));
        let empty = tally.close(2500 * MS).stats;
        assert_eq!((empty.requests, empty.bins.squared, empty.latency_at_percentile), (0, 0, None));
    }

    #[test]
    fn merged_windows_keep_their_sums_and_the_percentile_of_all() {
        let mut tally = Tally::new(0.5);
        let mut recorder = Recorder::new(Records::Merged(2), 0.5);
        let mut records = Vec::new();
        for (window, latencies) in [vec![10, 20, 30], vec![40, 50], vec![60]].into_iter().enumerate() {
            for latency in latencies {
                tally.arrive(window as u64 * 1000 * MS, 1, false);
                tally.answer(latency * MS, latency <= 30);
            }
            recorder.note(tally.latencies());
            let closed = tally.close((window as u64 + 1) * 1000 * MS);
            records.extend(recorder.add(closed, 1, ControllerCounts::default()));
        }
        records.extend(recorder.flush());
        let seen: Vec<_> = records
            .iter()
            .map(|record| {
                (record.stats.answered, record.stats.within_slo, record.stats.latency_at_percentile)
            })
            .collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(seen, [(5, 3, ms(30)), (1, 0, ms(60))]);
    }
}
