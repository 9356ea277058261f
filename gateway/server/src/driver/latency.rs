//! Latencies of one window, in buckets: adding is two shifts and an increment, a quantile one walk.
//!
//! Buckets are spaced by the leading bits of the nanoseconds, 32 to an octave, so that the middle of a bucket is within 1.6 % of
//! everything in it. Deliberately absent: exact values, merging, and memory that grows.

use std::time::Duration;

/// Leading bits below the highest that tell buckets apart: 2^5 to an octave.
const SUB_BITS: u32 = 5;
/// Everything shorter than 2^14 ns (16 µs) shares the first bucket.
const FIRST_OCTAVE: u32 = 14;
/// Everything longer than 2^40 ns (18 min, more than Lambda's longest run) shares the last.
const LAST_OCTAVE: u32 = 40;
const BUCKETS: usize = ((LAST_OCTAVE - FIRST_OCTAVE) as usize) << SUB_BITS;

/// Counts by latency.
#[derive(Debug)]
pub(super) struct LatencyHistogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl LatencyHistogram {
    /// Adds one.
    #[inline]
    pub(super) fn add(&mut self, latency: Duration) {
        let count = &mut self.counts[bucket(latency)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// The latency that a share of `quantile` of all does not exceed, within 1.6 %; `None` if nothing was added.
    pub(super) fn quantile(&self, quantile: f64) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count, clamped to it"
        )]
        let rank = ((quantile * self.total as f64).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        let index = self.counts.iter().position(|&count| {
            seen += u64::from(count);
            seen >= rank
        });
        index.map(middle)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        if self.total > 0 {
            self.counts.fill(0);
            self.total = 0;
        }
    }
}

fn bucket(latency: Duration) -> usize {
    let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let octave = nanos.checked_ilog2().unwrap_or(0);
    if octave < FIRST_OCTAVE {
        return 0;
    }
    if octave >= LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let sub = (nanos >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    ((octave - FIRST_OCTAVE) as usize) << SUB_BITS | usize::try_from(sub).unwrap_or(0)
}

fn middle(index: usize) -> Duration {
    let octave = FIRST_OCTAVE + u32::try_from(index >> SUB_BITS).unwrap_or(0);
    let sub = (index & ((1 << SUB_BITS) - 1)) as u64;
    let width = 1_u64 << (octave - SUB_BITS);
    Duration::from_nanos((1 << octave) + sub * width + width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for micros in 1..=10_000_u64 {
            histogram.add(Duration::from_micros(micros * 37));
        }
        for quantile in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = quantile * 10_000.0 * 37e-6;
            let found = histogram.quantile(quantile).unwrap().as_secs_f64();
            assert!((found / exact - 1.0).abs() < 0.02, "{quantile}: {found} for {exact}");
        }
        histogram.clear();
        assert_eq!(histogram.quantile(0.5), None);
    }

    #[test]
    fn extremes_are_counted_at_the_ends() {
        let mut histogram = LatencyHistogram::default();
        histogram.add(Duration::ZERO);
        histogram.add(Duration::MAX);
        assert!(histogram.quantile(0.5).unwrap() < Duration::from_micros(20));
        assert!(histogram.quantile(1.0).unwrap() > Duration::from_secs(1000));
    }
}
