//! Who may run now, and the reason if not: concurrency, request rate and scaling rate of an account.
//!
//! Rules: a function with reserved concurrency runs at most so many at a time; all others share what is left of the account's. Requests per
//! second are at most ten for each unit of concurrency. New environments of one function, whatever their size, are at most 1,000 per
//! 10 s. Both rates are token buckets that start full and refill evenly.
//! Reference: AWS Lambda documentation, "Lambda function scaling" and "Lambda quotas". Not documented: how a burst is counted within the 10 s, and
//! the reason given when the scaling rate is exceeded.

/// Why a request was throttled: the `Reason` of the API's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThrottleReason {
    /// The account's concurrency is used up, or the function scales up too fast.
    ConcurrentInvocationLimitExceeded,
    /// The function's reserved concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// Too many requests a second for the account's concurrency.
    FunctionInvocationRateLimitExceeded,
    /// Too many requests a second for the reserved concurrency.
    ReservedFunctionInvocationRateLimitExceeded,
    /// Too many calls of the caller.
    CallerRateLimitExceeded,
}

impl ThrottleReason {
    /// All, in the order of [`ThrottleReason::index`].
    pub const ALL: [Self; 5] = [
        Self::ConcurrentInvocationLimitExceeded,
        Self::ReservedFunctionConcurrentInvocationLimitExceeded,
        Self::FunctionInvocationRateLimitExceeded,
        Self::ReservedFunctionInvocationRateLimitExceeded,
        Self::CallerRateLimitExceeded,
    ];

    /// The API's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

    /// Its place in [`ThrottleReason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// An account's limits; 0 switches a rate off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Executions at a time, of all functions. A new account may have as few as 10. Default 1,000.
    pub concurrency: u32,
    /// Requests a second for each unit of concurrency. Default 10.
    pub requests_per_second_per_concurrency: u32,
    /// New environments of one function in 10 s. Default 1,000.
    pub environments_per_10_s: u32,
}

impl Default for LimitSettings {
    /// Quotas of an ordinary account.
    fn default() -> Self {
        Self { concurrency: 1000, requests_per_second_per_concurrency: 10, environments_per_10_s: 1000 }
    }
}

/// Admission state of an account.
#[derive(Clone, Debug)]
pub struct Limits {
    unreserved: u32,
    in_flight: u32,
    rate: Option<TokenBucket>,
    functions: Vec<FunctionLimits>,
}

#[derive(Clone, Debug)]
struct FunctionLimits {
    reserved: Option<u32>,
    in_flight: u32,
    rate: Option<TokenBucket>,
    environments: Option<TokenBucket>,
}

impl Limits {
    /// Limits with nothing in flight, for functions with these reservations. What is reserved is taken from the others.
    #[must_use]
    pub fn new(settings: &LimitSettings, reserved: &[Option<u32>]) -> Self {
        let taken = reserved.iter().flatten().fold(0_u32, |sum, units| sum.saturating_add(*units));
        let unreserved = settings.concurrency.saturating_sub(taken);
        let rate = |units: u32| {
            let per_second = f64::from(units) * f64::from(settings.requests_per_second_per_concurrency);
            (settings.requests_per_second_per_concurrency > 0)
                .then(|| TokenBucket::new(per_second, per_second))
        };
        let ramp = f64::from(settings.environments_per_10_s);
        let function = |reserved: &Option<u32>| FunctionLimits {
            reserved: *reserved,
            in_flight: 0,
            rate: reserved.and_then(rate),
            environments: (ramp > 0.0).then(|| TokenBucket::new(ramp, ramp / 10.0)),
        };
        Self {
            unreserved,
            in_flight: 0,
            rate: rate(unreserved),
            functions: reserved.iter().map(function).collect(),
        }
    }

    /// Admits one execution of a function at `now` nanoseconds.
    ///
    /// # Errors
    /// The reason of the throttle; nothing is then held.
    pub fn admit(&mut self, function: usize, now: u64) -> Result<(), ThrottleReason> {
        let of = &mut self.functions[function];
        let (is_full, full, rate, fast) = match of.reserved {
            Some(reserved) => (
                of.in_flight >= reserved,
                ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
                &mut of.rate,
                ThrottleReason::ReservedFunctionInvocationRateLimitExceeded,
            ),
            None => (
                self.in_flight >= self.unreserved,
                ThrottleReason::ConcurrentInvocationLimitExceeded,
                &mut self.rate,
                ThrottleReason::FunctionInvocationRateLimitExceeded,
            ),
        };
        if is_full {
            return Err(full);
        }
        if rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(fast);
        }
        of.in_flight += 1;
        if of.reserved.is_none() {
            self.in_flight += 1;
        }
        Ok(())
    }

    /// Ends an execution that was admitted.
    pub fn release(&mut self, function: usize) {
        let of = &mut self.functions[function];
        of.in_flight -= 1;
        if of.reserved.is_none() {
            self.in_flight -= 1;
        }
    }

    /// Asks for one new environment.
    ///
    /// # Errors
    /// The reason of the throttle when the function scales up too fast.
    pub fn start_environment(&mut self, function: usize, now: u64) -> Result<(), ThrottleReason> {
        let bucket = &mut self.functions[function].environments;
        let granted = bucket.as_mut().is_none_or(|bucket| bucket.take(now));
        granted.then_some(()).ok_or(ThrottleReason::ConcurrentInvocationLimitExceeded)
    }

    /// Executions of a function at the moment.
    #[must_use]
    pub fn in_flight(&self, function: usize) -> u32 {
        self.functions[function].in_flight
    }
}

/// Starts full, refills evenly.
#[derive(Clone, Debug)]
struct TokenBucket {
    capacity: f64,
    per_nano: f64,
    tokens: f64,
    at: u64,
}

impl TokenBucket {
    fn new(capacity: f64, per_second: f64) -> Self {
        Self { capacity, per_nano: per_second / 1e9, tokens: capacity, at: 0 }
    }

    fn take(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.at) as f64 * self.per_nano;
        self.tokens = (self.tokens + earned).min(self.capacity);
        self.at = now;
        let is_granted = self.tokens >= 1.0;
        if is_granted {
            self.tokens -= 1.0;
        }
        is_granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limits(concurrency: u32, rate: u32, ramp: u32, reserved: &[Option<u32>]) -> Limits {
        let settings = LimitSettings {
            concurrency,
            requests_per_second_per_concurrency: rate,
            environments_per_10_s: ramp,
        };
        Limits::new(&settings, reserved)
    }

    #[test]
    fn functions_without_a_reservation_share_the_account() {
        let mut limits = limits(2, 0, 0, &[None, None]);
        assert!(limits.admit(0, 0).is_ok() && limits.admit(1, 0).is_ok());
        assert_eq!(limits.admit(0, 0), Err(ThrottleReason::ConcurrentInvocationLimitExceeded));
        limits.release(1);
        assert!(limits.admit(0, 0).is_ok());
    }

    #[test]
    fn a_reservation_caps_its_function_and_is_taken_from_the_others() {
        let mut limits = limits(5, 0, 0, &[Some(2), None]);
        assert!((0..2).all(|_| limits.admit(0, 0).is_ok()) && (0..3).all(|_| limits.admit(1, 0).is_ok()));
        let own = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
        assert_eq!(limits.admit(0, 0), Err(own));
        assert_eq!(limits.admit(1, 0), Err(ThrottleReason::ConcurrentInvocationLimitExceeded));
    }

    #[test]
    fn ten_requests_a_second_fit_into_a_unit_of_concurrency() {
        let mut limits = limits(1, 10, 0, &[None]);
        for _ in 0..10 {
            limits.admit(0, 0).unwrap();
            limits.release(0);
        }
        assert_eq!(limits.admit(0, 0), Err(ThrottleReason::FunctionInvocationRateLimitExceeded));
        assert!(limits.admit(0, SECOND / 10 + 1).is_ok());
    }

    #[test]
    fn environments_ramp_up_at_the_published_rate_by_function() {
        let mut limits = limits(10_000, 0, 1000, &[None, None]);
        assert_eq!((0..2000).filter(|_| limits.start_environment(0, 0).is_ok()).count(), 1000);
        assert!(limits.start_environment(1, 0).is_ok());
        assert_eq!((0..2000).filter(|_| limits.start_environment(0, 5 * SECOND).is_ok()).count(), 500);
    }
}
