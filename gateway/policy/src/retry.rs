//! Whether and when a batch may go out again.
//!
//! Problem: retries help against a short fault and multiply the load of a long one.
//! Rule: a token bucket per model. Each first dispatch deposits `budget_ratio` tokens, each second `budget_min_per_second`; a retry
//! takes one whole token. Back-off doubles from `backoff_base` to `backoff_max` and is shortened by up to half, by a hash of the batch
//! id, so that batches which failed together do not return together.
//! Why not a count per batch alone: with all batches failing, n attempts each is n times the load.
//! Bounds and first start: the bucket holds [`BURST_SECONDS`] of the minimum and [`BURST_BATCHES`] of the ratio; where retries are
//! allowed at all, at least `max_in_flight`, so that one window that is throttled in one round trip can go once more. It starts full.
//! Reference: the retry budget of Finagle (Twitter) and of `tower`; jitter after Brooker, "Exponential Backoff And Jitter", 2015.

use gateway_contract::{BatchId, RetryLimits};

use crate::compiled_plan::nanos;

/// Seconds of `budget_min_per_second` that the bucket holds.
const BURST_SECONDS: f64 = 10.0;
/// First dispatches whose `budget_ratio` the bucket holds.
const BURST_BATCHES: f64 = 100.0;

/// Token bucket of retries.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: f64,
    capacity: f64,
    per_dispatch: f64,
    per_nano: f64,
    updated: u64,
}

impl RetryBudget {
    pub(crate) fn new(now: u64, limits: &RetryLimits, max_in_flight: u32) -> Self {
        let mut budget = Self { tokens: 0.0, capacity: 0.0, per_dispatch: 0.0, per_nano: 0.0, updated: now };
        budget.set_limits(now, limits, max_in_flight);
        budget.tokens = budget.capacity;
        budget
    }

    /// New limits from now on; what was saved until now, by the limits before, is kept up to the new capacity.
    pub(crate) fn set_limits(&mut self, now: u64, limits: &RetryLimits, max_in_flight: u32) {
        self.earn(now);
        self.per_dispatch = limits.budget_ratio;
        self.per_nano = limits.budget_min_per_second / 1e9;
        let burst = limits.budget_min_per_second * BURST_SECONDS + limits.budget_ratio * BURST_BATCHES;
        self.capacity = if burst > 0.0 { burst.max(f64::from(max_in_flight)) } else { 0.0 };
        self.tokens = self.tokens.min(self.capacity);
    }

    /// A batch goes out for the first time.
    #[inline]
    pub(crate) fn deposit(&mut self) {
        self.tokens = (self.tokens + self.per_dispatch).min(self.capacity);
    }

    /// Takes a token if there is one.
    pub(crate) fn withdraw(&mut self, now: u64) -> bool {
        self.earn(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    fn earn(&mut self, now: u64) {
        let earned = now.saturating_sub(self.updated) as f64 * self.per_nano;
        self.updated = self.updated.max(now);
        self.tokens = (self.tokens + earned).min(self.capacity);
    }
}

/// Nanoseconds to wait after the given attempt (1 is the first) of a batch.
pub(crate) fn backoff(limits: &RetryLimits, attempt: u32, batch: BatchId) -> u64 {
    let doublings = attempt.saturating_sub(1).min(63);
    let full = nanos(limits.backoff_base).saturating_mul(1 << doublings).min(nanos(limits.backoff_max));
    let half = full / 2;
    half + if half == 0 { full } else { mix(batch.0) % (half + 1) }
}

/// Spreads a number over all 64 bits. Reference: the finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(ratio: f64, per_second: f64) -> RetryLimits {
        RetryLimits {
            budget_ratio: ratio,
            budget_min_per_second: per_second,
            max_attempts: 5,
            max_unknown_outcome_retries: 1,
            backoff_base: Duration::from_millis(10),
            backoff_max: Duration::from_millis(100),
        }
    }

    #[test]
    fn the_ratio_bounds_retries_in_the_long_run() {
        let mut budget = RetryBudget::new(0, &limits(0.1, 0.0), 1);
        let granted = (0..10_000).filter(|_| {
            budget.deposit();
            budget.withdraw(0)
        });
        let granted = granted.count();
        assert!((1_009..=1_010).contains(&granted), "{granted}");
    }

    #[test]
    fn the_minimum_refills_with_time() {
        let mut budget = RetryBudget::new(0, &limits(0.0, 2.0), 1);
        let spent = (0..100).filter(|_| budget.withdraw(0)).count();
        assert_eq!(spent, 20);
        assert!(!budget.withdraw(499_000_000));
        assert!(budget.withdraw(501_000_000));
    }

    #[test]
    fn time_before_a_change_earns_by_the_limits_before_it() {
        let mut budget = RetryBudget::new(0, &limits(0.0, 0.1), 1);
        assert!(budget.withdraw(0));
        budget.set_limits(1_000_000_000, &limits(0.0, 100.0), 1);
        assert!(!budget.withdraw(1_000_000_000), "a tenth of a token was earned");
        assert!(budget.withdraw(1_010_000_000));
    }

    #[test]
    fn no_allowance_means_no_retry() {
        let mut budget = RetryBudget::new(0, &limits(0.0, 0.0), 1);
        budget.deposit();
        assert!(!budget.withdraw(u64::MAX));
    }

    #[test]
    fn back_off_doubles_up_to_its_bound_and_jitters_downwards_only() {
        let limits = limits(0.1, 1.0);
        for batch in (0..100).map(BatchId) {
            for (attempt, full_ms) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 100), (40, 100), (200, 100)] {
                let wait = backoff(&limits, attempt, batch);
                assert!((full_ms * 500_000..=full_ms * 1_000_000).contains(&wait), "{attempt} {wait}");
            }
        }
        assert_ne!(backoff(&limits, 1, BatchId(1)), backoff(&limits, 1, BatchId(2)));
    }
}
