//! Latencies in buckets of constant relative width: memory does not grow with the number of requests.

/// Buckets per doubling: 0.27 % each; quantiles are interpolated within one.
const PER_OCTAVE: f64 = 256.0;
/// Smallest latency told apart, in nanoseconds.
const LEAST: f64 = 10_000.0;
/// 10 µs to 10,000 s.
const BUCKETS: usize = 30 * 256;

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    counts: Vec<u32>,
    total: u64,
    sum_seconds: f64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum_seconds: 0.0 }
    }
}

impl LatencyHistogram {
    #[inline]
    pub(crate) fn record(&mut self, nanos: u64) {
        let octaves = (nanos as f64 / LEAST).max(1.0).log2();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 0, and bounded below"
        )]
        let bucket = ((octaves * PER_OCTAVE) as usize).min(BUCKETS - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.sum_seconds += nanos as f64 / 1e9;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.sum_seconds += other.sum_seconds;
    }

    /// Requests in it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Mean in seconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum_seconds / self.total as f64
    }

    /// The latency, in seconds, that a share `probability` does not exceed.
    #[must_use]
    pub fn quantile(&self, probability: f64) -> f64 {
        let wanted = probability * self.total as f64;
        let mut below = 0.0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            let count = f64::from(count);
            if below + count >= wanted && count > 0.0 {
                let share = (wanted - below) / count;
                return LEAST * ((bucket as f64 + share) / PER_OCTAVE).exp2() / 1e9;
            }
            below += count;
        }
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut histogram = LatencyHistogram::default();
        (1..=100_000_u64).for_each(|at| histogram.record(at * 10_000));
        for probability in [0.01, 0.5, 0.99] {
            assert!((histogram.quantile(probability) / probability - 1.0).abs() < 0.003);
        }
        assert!((histogram.mean() - 0.500_005).abs() < 1e-6);
    }
}
