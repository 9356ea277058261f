//! When to stop bisecting.
//!
//! Problem: bisection finds the guilty item among innocent ones in 2·log2(n) extra invocations. Against a function that fails everything
//! it would pay for 2n, batch after batch, and answer nobody earlier.
//! Rule: count function errors since the last success. At [`FREE_FAILURES`] + what is in flight the breaker is open: a batch that fails
//! then fails as a whole. The first success closes it. Each new batch still goes out once, so the breaker probes by itself.
//! Why not a share over time: it needs a clock and a window, and a function that is dead shows no success at all.
//! Why the in-flight part: batches that are out together may each hold a guilty item and fail together without the function being dead;
//! their halves then succeed every second time.
//! Bounds: a dead function costs at most [`FREE_FAILURES`] + in flight bisections, plus the halves that these had left.

/// Consecutive failures, beyond those in flight, that are taken for poison rather than for a dead function.
pub(crate) const FREE_FAILURES: u32 = 16;

/// Function errors since the last success.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
}

impl Breaker {
    #[inline]
    pub(crate) fn on_success(&mut self) {
        self.failures = 0;
    }

    /// A batch ended in a function error. Whether bisecting it may still help.
    pub(crate) fn on_failure(&mut self, in_flight: u32) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures < FREE_FAILURES.saturating_add(in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_only_and_closes_on_one_success() {
        let mut breaker = Breaker::default();
        assert_eq!((0..100).filter(|_| breaker.on_failure(4)).count(), 19);
        breaker.on_success();
        assert!(breaker.on_failure(0));
    }

    #[test]
    fn alternating_outcomes_never_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..1_000 {
            assert!(breaker.on_failure(0));
            breaker.on_success();
        }
    }
}
