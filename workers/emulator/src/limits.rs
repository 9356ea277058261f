//! Concurrency, request-rate and scaling limits of an account: who may run now, and the reason if not. Pure: `now` is an
//! argument, nothing sleeps, nothing knows HTTP.
//!
//! Rules (published scaling behaviour): a function with reserved concurrency has exactly that many executions; all others
//! share what is left of the account's limit. Requests a second are at most ten per unit of concurrency. New environments
//! of one function are at most 1,000 per 10 s. Both rates are token buckets that start full and refill evenly.
//! Not verified on a real account: the reason reported when the scaling rate is exceeded, and the size of a burst.

use crate::config::LimitsConfig;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Units of concurrency that reservations must leave to all other functions, where the account has that many.
const UNRESERVED_MINIMUM: u32 = 100;

/// Why a request was throttled; the text forms are the API's `Reason` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ThrottleReason {
    /// The account's unreserved concurrency is used up, or the function scales up too fast.
    ConcurrentInvocationLimitExceeded,
    /// The function's reserved concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// Too many requests a second for the unreserved concurrency.
    FunctionInvocationRateLimitExceeded,
    /// Too many requests a second for the reserved concurrency.
    ReservedFunctionInvocationRateLimitExceeded,
    /// Too many calls of the caller.
    CallerRateLimitExceeded,
}

impl ThrottleReason {
    /// The `Reason` value of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::FunctionInvocationRateLimitExceeded => "FunctionInvocationRateLimitExceeded",
            Self::ReservedFunctionInvocationRateLimitExceeded => {
                "ReservedFunctionInvocationRateLimitExceeded"
            }
            Self::CallerRateLimitExceeded => "CallerRateLimitExceeded",
        }
    }
}

/// Admission state of the account.
#[derive(Debug)]
pub struct Limits {
    config: LimitsConfig,
    unreserved_in_flight: u32,
    unreserved_rate: Option<TokenBucket>,
    caller: Option<TokenBucket>,
    functions: BTreeMap<String, FunctionLimits>,
}

#[derive(Debug, Default)]
struct FunctionLimits {
    reserved: Option<u32>,
    in_flight: u32,
    rate: Option<TokenBucket>,
    environments: Option<TokenBucket>,
}

/// Whose units an admitted execution holds; given back to [`Limits::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Counted against the account's unreserved concurrency.
    Unreserved,
    /// Counted against the function's reservation.
    Reserved,
}

impl Limits {
    /// Limits with nothing in flight.
    #[must_use]
    pub fn new(config: LimitsConfig, now: Instant) -> Self {
        let caller = bucket(config.control_plane_requests_per_second, 1, now);
        let mut limits = Self {
            config,
            unreserved_in_flight: 0,
            unreserved_rate: None,
            caller,
            functions: BTreeMap::new(),
        };
        limits.rebuild_unreserved_rate(now);
        limits
    }

    /// Admits one execution of `function`, or says why not.
    ///
    /// # Errors
    /// The reason of the throttle; nothing is then held.
    pub fn admit(&mut self, function: &str, now: Instant) -> Result<Share, ThrottleReason> {
        let unreserved = self.unreserved();
        let state = self.functions.entry(function.to_owned()).or_default();
        let (share, full, rate) = match state.reserved {
            Some(reserved) => (Share::Reserved, state.in_flight >= reserved, &mut state.rate),
            None => (Share::Unreserved, self.unreserved_in_flight >= unreserved, &mut self.unreserved_rate),
        };
        if full {
            return Err(match share {
                Share::Reserved => ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
                Share::Unreserved => ThrottleReason::ConcurrentInvocationLimitExceeded,
            });
        }
        if rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(match share {
                Share::Reserved => ThrottleReason::ReservedFunctionInvocationRateLimitExceeded,
                Share::Unreserved => ThrottleReason::FunctionInvocationRateLimitExceeded,
            });
        }
        state.in_flight += 1;
        if share == Share::Unreserved {
            self.unreserved_in_flight += 1;
        }
        Ok(share)
    }

    /// Ends an execution that was admitted with `share`.
    pub fn release(&mut self, function: &str, share: Share) {
        if let Some(state) = self.functions.get_mut(function) {
            state.in_flight = state.in_flight.saturating_sub(1);
        }
        if share == Share::Unreserved {
            self.unreserved_in_flight = self.unreserved_in_flight.saturating_sub(1);
        }
    }

    /// Asks for one new environment of `function`.
    ///
    /// # Errors
    /// The reason of the throttle when the function scales up too fast.
    pub fn new_environment(&mut self, function: &str, now: Instant) -> Result<(), ThrottleReason> {
        let per_10_s = self.config.environments_per_10_seconds;
        if per_10_s == 0 {
            return Ok(());
        }
        let state = self.functions.entry(function.to_owned()).or_default();
        let bucket = state
            .environments
            .get_or_insert_with(|| TokenBucket::new(f64::from(per_10_s), f64::from(per_10_s) / 10.0, now));
        bucket.take(now).then_some(()).ok_or(ThrottleReason::ConcurrentInvocationLimitExceeded)
    }

    /// Counts one call of the configuration API.
    ///
    /// # Errors
    /// [`ThrottleReason::CallerRateLimitExceeded`] when there were too many.
    pub fn control_call(&mut self, now: Instant) -> Result<(), ThrottleReason> {
        let admitted = self.caller.as_mut().is_none_or(|bucket| bucket.take(now));
        admitted.then_some(()).ok_or(ThrottleReason::CallerRateLimitExceeded)
    }

    /// Reserves `reserved` units for `function` (`None` gives them back).
    ///
    /// # Errors
    /// The minimum that must stay unreserved, when the account has too few units left.
    pub fn reserve(&mut self, function: &str, reserved: Option<u32>, now: Instant) -> Result<(), u32> {
        let others: u32 = self
            .functions
            .iter()
            .filter(|(name, _)| *name != function)
            .map(|(_, state)| state.reserved.unwrap_or(0))
            .sum();
        let minimum = UNRESERVED_MINIMUM.min(self.config.account_concurrency);
        let wanted = others.saturating_add(reserved.unwrap_or(0));
        if reserved.is_some_and(|units| units > 0)
            && wanted.saturating_add(minimum) > self.config.account_concurrency
        {
            return Err(minimum);
        }
        let per_unit = self.config.requests_per_second_per_concurrency;
        let state = self.functions.entry(function.to_owned()).or_default();
        state.reserved = reserved;
        state.rate = reserved.and_then(|units| bucket(per_unit, units, now));
        self.rebuild_unreserved_rate(now);
        Ok(())
    }

    /// Units that functions without a reservation share.
    #[must_use]
    pub fn unreserved(&self) -> u32 {
        let reserved: u32 = self.functions.values().filter_map(|state| state.reserved).sum();
        self.config.account_concurrency.saturating_sub(reserved)
    }

    /// The account's concurrency limit.
    #[must_use]
    pub fn account_concurrency(&self) -> u32 {
        self.config.account_concurrency
    }

    /// Reserved units of `function`.
    #[must_use]
    pub fn reserved(&self, function: &str) -> Option<u32> {
        self.functions.get(function).and_then(|state| state.reserved)
    }

    /// Executions of `function` that run now.
    #[must_use]
    pub fn in_flight(&self, function: &str) -> u32 {
        self.functions.get(function).map_or(0, |state| state.in_flight)
    }

    fn rebuild_unreserved_rate(&mut self, now: Instant) {
        self.unreserved_rate =
            bucket(self.config.requests_per_second_per_concurrency, self.unreserved(), now);
    }
}

/// A bucket of one second's worth of `per_unit` × `units` requests; no bucket when the rule is off.
fn bucket(per_unit: u32, units: u32, now: Instant) -> Option<TokenBucket> {
    let per_second = f64::from(per_unit) * f64::from(units);
    (per_unit > 0).then(|| TokenBucket::new(per_second, per_second, now))
}

/// Starts full, refills evenly.
#[derive(Debug)]
struct TokenBucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    fn new(capacity: f64, per_second: f64, now: Instant) -> Self {
        Self { capacity, per_second, tokens: capacity, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).min(Duration::from_secs(3600));
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.per_second).min(self.capacity);
        self.at = now;
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(account: u32, rate: u32, ramp: u32) -> (Limits, Instant) {
        let now = Instant::now();
        let config = LimitsConfig {
            account_concurrency: account,
            requests_per_second_per_concurrency: rate,
            environments_per_10_seconds: ramp,
            control_plane_requests_per_second: 2,
            ..LimitsConfig::default()
        };
        (Limits::new(config, now), now)
    }

    #[test]
    fn functions_without_a_reservation_share_the_account() {
        let (mut limits, now) = limits(2, 0, 0);
        let share = limits.admit("a", now).unwrap();
        limits.admit("b", now).unwrap();
        assert_eq!(limits.admit("a", now), Err(ThrottleReason::ConcurrentInvocationLimitExceeded));
        limits.release("a", share);
        assert!(limits.admit("b", now).is_ok());
    }

    #[test]
    fn a_reservation_caps_its_function_and_takes_from_the_rest() {
        let (mut limits, now) = limits(103, 0, 0);
        limits.reserve("a", Some(2), now).unwrap();
        assert_eq!(limits.unreserved(), 101);
        assert!(limits.admit("a", now).is_ok() && limits.admit("a", now).is_ok());
        let reason = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
        assert_eq!(limits.admit("a", now), Err(reason));
        for _ in 0..101 {
            limits.admit("b", now).unwrap();
        }
        assert_eq!(limits.admit("b", now), Err(ThrottleReason::ConcurrentInvocationLimitExceeded));
    }

    #[test]
    fn reservations_leave_a_hundred_units() {
        let (mut limits, now) = limits(150, 0, 0);
        assert_eq!(limits.reserve("a", Some(51), now), Err(100));
        assert_eq!(limits.reserve("a", Some(50), now), Ok(()));
        assert_eq!(limits.reserve("b", Some(1), now), Err(100));
        assert_eq!(limits.reserve("b", Some(0), now), Ok(()));
        assert_eq!(limits.reserve("a", None, now), Ok(()));
    }

    #[test]
    fn a_reservation_of_zero_stops_the_function() {
        let (mut limits, now) = limits(1000, 10, 0);
        limits.reserve("a", Some(0), now).unwrap();
        assert!(limits.admit("a", now).is_err());
    }

    #[test]
    fn ten_requests_a_second_fit_into_a_unit_of_concurrency() {
        let (mut limits, now) = limits(1, 10, 0);
        for _ in 0..10 {
            let share = limits.admit("a", now).unwrap();
            limits.release("a", share);
        }
        assert_eq!(limits.admit("a", now), Err(ThrottleReason::FunctionInvocationRateLimitExceeded));
        assert!(limits.admit("a", now + Duration::from_millis(101)).is_ok());
    }

    #[test]
    fn environments_ramp_up_at_the_published_rate() {
        let (mut limits, now) = limits(10_000, 0, 1000);
        assert!((0..1000).all(|_| limits.new_environment("a", now).is_ok()));
        assert!(limits.new_environment("a", now).is_err());
        assert!(limits.new_environment("b", now).is_ok(), "the ramp is per function");
        let later = now + Duration::from_secs(5);
        assert_eq!((0..1000).filter(|_| limits.new_environment("a", later).is_ok()).count(), 500);
    }

    #[test]
    fn configuration_calls_have_their_own_rate() {
        let (mut limits, now) = limits(1, 0, 0);
        assert!(limits.control_call(now).is_ok() && limits.control_call(now).is_ok());
        assert_eq!(limits.control_call(now), Err(ThrottleReason::CallerRateLimitExceeded));
    }
}
