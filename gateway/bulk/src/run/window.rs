//! How many invocations may be under way. Pure: told the time.
//!
//! *Problem.* Lambda gives a function 1,000 more environments every 10 s and an account so many in all; asking for more is answered 429, and costs
//! time.
//! *Rule.* The least of: the job's parallelism; the ramp; a window that a 429 halves (once for all invocations that began before the last
//! halving) and that each round of successes widens by a sixteenth of the parallelism.
//! *Reference.* AWS Lambda quotas, "concurrency scaling rate"; Chiu and Jain, 1989, for the window.

use std::time::Duration;

/// Environments that a function may have at once from nothing, and more of them per step.
const RAMP_ENVIRONMENTS: u32 = 1000;
/// A step of the ramp.
const RAMP_STEP: Duration = Duration::from_secs(10);
/// Part of the parallelism by which a round of successes widens the window.
const WIDEN: f64 = 1.0 / 16.0;

/// The window. Times are since the runner's start.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    parallelism: u32,
    size: f64,
    in_flight: u32,
    /// When the first invocation began.
    begun: Option<Duration>,
    /// When it was last halved.
    halved: Option<Duration>,
}

impl Window {
    pub(crate) fn new(parallelism: u32) -> Self {
        let parallelism = parallelism.max(1);
        Self { parallelism, size: f64::from(parallelism), in_flight: 0, begun: None, halved: None }
    }

    /// Invocations that may be under way now.
    pub(crate) fn allowed(&self, now: Duration) -> u32 {
        let steps = self.begun.map_or(0, |begun| now.saturating_sub(begun).as_secs() / RAMP_STEP.as_secs());
        let ramp =
            u32::try_from(steps).unwrap_or(u32::MAX).saturating_add(1).saturating_mul(RAMP_ENVIRONMENTS);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to the parallelism")]
        let size = self.size as u32;
        size.min(ramp).min(self.parallelism).max(1)
    }

    /// Invocations under way.
    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Begins one, if one may.
    pub(crate) fn begin(&mut self, now: Duration) -> bool {
        if self.in_flight >= self.allowed(now) {
            return false;
        }
        self.begun.get_or_insert(now);
        self.in_flight += 1;
        true
    }

    /// One has ended, whatever came of it.
    pub(crate) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// One was executed.
    pub(crate) fn succeeded(&mut self) {
        let most = f64::from(self.parallelism);
        self.size = (self.size + (most * WIDEN).max(1.0) / self.size).min(most);
    }

    /// One that began then was throttled.
    pub(crate) fn throttled(&mut self, began: Duration, now: Duration) {
        if self.halved.is_none_or(|halved| began >= halved) {
            self.size = (f64::from(self.in_flight.max(1)).min(self.size) / 2.0).max(1.0);
            self.halved = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fill(window: &mut Window, now: Duration) -> u32 {
        let mut begun = 0;
        while window.begin(now) {
            begun += 1;
        }
        begun
    }

    #[test]
    fn parallelism_above_a_thousand_is_reached_by_steps_of_ten_seconds() {
        let mut window = Window::new(2500);
        assert_eq!(fill(&mut window, s(5)), 1000);
        assert_eq!(fill(&mut window, s(14)), 0);
        assert_eq!(fill(&mut window, s(15)), 1000);
        assert_eq!(fill(&mut window, s(100)), 500);
    }

    #[test]
    fn one_wave_of_throttles_halves_once_and_successes_widen_again() {
        let mut window = Window::new(100);
        assert_eq!(fill(&mut window, s(0)), 100);
        for _ in 0..40 {
            window.throttled(s(0), s(1));
            window.end();
        }
        assert_eq!(window.allowed(s(1)), 50);
        window.throttled(s(2), s(3));
        assert_eq!(window.allowed(s(3)), 25);
        for _ in 0..25 {
            window.succeeded();
        }
        assert!((30..=32).contains(&window.allowed(s(3))), "{}", window.allowed(s(3)));
        for _ in 0..2000 {
            window.succeeded();
        }
        assert_eq!(window.allowed(s(3)), 100);
    }

    #[test]
    fn one_is_always_allowed() {
        let mut window = Window::new(1);
        for second in 0..50 {
            window.throttled(s(second), s(second));
        }
        assert_eq!(window.allowed(s(50)), 1);
    }
}
