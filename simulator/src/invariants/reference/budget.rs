//! The retry budget, followed from outside: a bucket of tokens of which only bounds are known.
//!
//! Whether a retry was wanted at all is open where a jittered back-off decides if it would come in time, so a lower and an upper level are
//! kept. A retry that the upper level forbids is one too many; a denial that the lower level forbids is one too few.
//! Tokens are earned when they are asked for and when the limits change, in this order, so that sums round as the engine's do.

use gateway_contract::{RetryLimits, Timestamp};

/// Seconds of the minimum that the bucket holds.
const BURST_SECONDS: f64 = 10.0;
/// First dispatches whose share the bucket holds.
const BURST_BATCHES: f64 = 100.0;

/// Bounds of a bucket's level.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    low: f64,
    high: f64,
    capacity: f64,
    per_dispatch: f64,
    per_nano: f64,
    updated: Timestamp,
}

/// What the budget says to a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    Grants,
    Denies,
    /// It may do either.
    Open,
}

impl Bucket {
    /// It starts full.
    pub(super) fn new(now: Timestamp, limits: &RetryLimits, max_in_flight: u32) -> Self {
        let mut bucket = Self { updated: now, ..Self::default() };
        bucket.set_limits(now, limits, max_in_flight);
        (bucket.low, bucket.high) = (bucket.capacity, bucket.capacity);
        bucket
    }

    /// What was earned up to now was earned by the limits before.
    pub(super) fn set_limits(&mut self, now: Timestamp, limits: &RetryLimits, max_in_flight: u32) {
        self.earn(now);
        (self.per_dispatch, self.per_nano) = (limits.budget_ratio, limits.budget_min_per_second / 1e9);
        let burst = limits.budget_min_per_second * BURST_SECONDS + limits.budget_ratio * BURST_BATCHES;
        self.capacity = if burst > 0.0 { burst.max(f64::from(max_in_flight)) } else { 0.0 };
        self.add(0.0);
    }

    /// A batch goes out for the first time.
    pub(super) fn deposit(&mut self) {
        self.add(self.per_dispatch);
    }

    /// A retry is wanted; `for_sure` or perhaps.
    pub(super) fn ask(&mut self, now: Timestamp, for_sure: bool) -> Budget {
        self.earn(now);
        let verdict = match (self.low >= 1.0, self.high >= 1.0) {
            (true, true) => Budget::Grants,
            (_, false) => Budget::Denies,
            (false, true) => Budget::Open,
        };
        if self.low >= 1.0 {
            self.low -= 1.0;
        } else if verdict == Budget::Open {
            self.low = 0.0;
        }
        if for_sure && verdict == Budget::Grants {
            self.high -= 1.0;
        }
        verdict
    }

    fn earn(&mut self, now: Timestamp) {
        let nanos = now.as_nanos().saturating_sub(self.updated.as_nanos());
        self.updated = self.updated.max(now);
        self.add(nanos as f64 * self.per_nano);
    }

    fn add(&mut self, tokens: f64) {
        self.low = (self.low + tokens).min(self.capacity);
        self.high = (self.high + tokens).min(self.capacity);
    }
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
    fn an_empty_bucket_denies_until_it_has_earned_a_token() {
        let mut bucket = Bucket::new(Timestamp::ZERO, &limits(0.0, 0.2), 1);
        let after = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        assert_eq!([bucket.ask(after(0), true), bucket.ask(after(0), true)], [Budget::Grants; 2]);
        assert_eq!(bucket.ask(after(4), true), Budget::Denies);
        assert_eq!(bucket.ask(after(5), true), Budget::Grants);
    }

    #[test]
    fn a_retry_that_was_perhaps_not_wanted_leaves_the_next_one_open() {
        let mut bucket = Bucket::new(Timestamp::ZERO, &limits(0.0, 0.1), 1);
        assert_eq!(bucket.ask(Timestamp::ZERO, false), Budget::Grants);
        assert_eq!(bucket.ask(Timestamp::ZERO, true), Budget::Open);
    }

    #[test]
    fn what_was_earned_before_a_change_was_earned_by_the_limits_before() {
        let mut bucket = Bucket::new(Timestamp::ZERO, &limits(0.0, 0.1), 1);
        assert_eq!(bucket.ask(Timestamp::ZERO, true), Budget::Grants);
        let later = Timestamp::ZERO + Duration::from_secs(1);
        bucket.set_limits(later, &limits(0.0, 100.0), 1);
        assert_eq!(bucket.ask(later, true), Budget::Denies);
    }
}
