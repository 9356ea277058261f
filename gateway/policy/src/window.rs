//! How many invocations of one model may run at once.
//!
//! Problem: Lambda's concurrency is shared, capped and unknown to us. A throttled call was not executed, so trying is safe, but each try
//! costs a round trip, and a storm of them starves everybody else behind the same cap.
//!
//! Rule: additive increase, multiplicative decrease. A throttle halves the window, at most once per round trip: only a batch that was
//! sent after the last cut counts, since the others were answers to the old window. What else was running when the throttle came is
//! remembered as the *level*: Lambda carried that much. Each further throttle of the same round trip takes one more off, not below the
//! level: a window far above the cap comes down to it at once. Below the level each success adds one (a few completions undo the halving);
//! at the level one more is probed only after [`PROBE_WINDOWS`] windows of successes; above it after each window of successes.
//! While `retry_after` lasts, no more than the level may run: what Lambda carries goes on, nothing is added, and where nothing ran
//! everything pauses. After [`IDLE_RESTORE`] without an invocation, and no pause, the window is whole again: what was learned is stale.
//!
//! Why not plain AIMD: its saw-tooth uses three quarters of a hard cap on average. Remembering the level keeps more than 95 %.
//! Why not the level alone: when the cap drops far, halving is what keeps the number of futile calls logarithmic.
//!
//! Bounds and first start: floor 1, ceiling `max_in_flight`, starts at the ceiling.
//! Reference: Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance", 1989.

/// Windows of successes at the level before one more is probed.
const PROBE_WINDOWS: u32 = 4;
/// Nanoseconds without an invocation after which the window is restored: 30 s.
const IDLE_RESTORE: u64 = 30_000_000_000;

/// Additive increase, multiplicative decrease, with a memory of what was carried.
#[derive(Debug)]
pub(crate) struct Window {
    max: u32,
    size: u32,
    /// What ran when the last throttle came; `u32::MAX`: none came.
    level: u32,
    successes: u32,
    last_cut: Option<u64>,
    paused_until: u64,
    last_activity: u64,
}

impl Window {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            size: max,
            level: u32::MAX,
            successes: 0,
            last_cut: None,
            paused_until: 0,
            last_activity: 0,
        }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// A new ceiling. A window that was never cut follows it up.
    pub(crate) fn set_max(&mut self, max: u32) {
        if self.size == self.max && self.level == u32::MAX {
            self.size = max;
        }
        self.max = max;
        self.size = self.size.min(max);
    }

    /// Invocations that may run at `now`.
    #[inline]
    pub(crate) fn allowed(&self, now: u64) -> u32 {
        if now < self.paused_until { self.size.min(self.level) } else { self.size }
    }

    /// When the pause ends, if one holds at `now`.
    pub(crate) fn paused_until(&self, now: u64) -> Option<u64> {
        (now < self.paused_until).then_some(self.paused_until)
    }

    /// A batch is about to go out while `in_flight` others run.
    #[inline]
    pub(crate) fn on_dispatch(&mut self, now: u64, in_flight: u32) {
        let is_stale = in_flight == 0 && now.saturating_sub(self.last_activity) >= IDLE_RESTORE;
        if self.size < self.max && is_stale && now >= self.paused_until {
            self.size = self.max;
            self.level = u32::MAX;
            self.successes = 0;
        }
        self.last_activity = now;
    }

    /// Lambda ran a batch, whatever became of it.
    #[inline]
    pub(crate) fn on_executed(&mut self, now: u64) {
        self.last_activity = now;
        if self.size >= self.max {
            return;
        }
        self.successes += 1;
        let needed = match self.size.cmp(&self.level) {
            std::cmp::Ordering::Less if self.level != u32::MAX => 1,
            std::cmp::Ordering::Equal => self.size.saturating_mul(PROBE_WINDOWS),
            std::cmp::Ordering::Less | std::cmp::Ordering::Greater => self.size,
        };
        if self.successes >= needed {
            self.successes = 0;
            self.size += 1;
        }
    }

    /// A batch that went out at `dispatched` was throttled while `still_running` others run.
    pub(crate) fn on_throttled(
        &mut self,
        now: u64,
        dispatched: u64,
        still_running: u32,
        retry_after: Option<u64>,
    ) {
        self.last_activity = now;
        self.successes = 0;
        if self.last_cut.is_none_or(|cut| dispatched >= cut) {
            self.size = (self.size / 2).max(1);
            self.last_cut = Some(now);
            self.level = still_running;
        } else {
            self.level = self.level.min(still_running);
            self.size = self.size.min(self.level.max(self.size - 1)).max(1);
        }
        if let Some(wait) = retry_after {
            self.paused_until = self.paused_until.max(now.saturating_add(wait));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_halves_once() {
        let mut window = Window::new(64);
        for still_running in (40..64).rev() {
            window.on_throttled(10, 5, still_running, None);
        }
        assert_eq!(window.size(), 32, "what runs is more than half: Lambda carries it");
        window.on_throttled(20, 15, 31, None);
        assert_eq!(window.size(), 16);
    }

    #[test]
    fn a_window_far_above_the_cap_comes_down_to_it_in_one_round_trip() {
        let mut window = Window::new(100);
        for still_running in (10..100).rev() {
            window.on_throttled(10, 5, still_running, None);
        }
        assert_eq!(window.size(), 10);
    }

    #[test]
    fn never_falls_below_one() {
        let mut window = Window::new(2);
        for at in 0..10 {
            window.on_throttled(at, at, 0, None);
        }
        assert_eq!(window.size(), 1);
        assert_eq!(window.allowed(100), 1);
    }

    #[test]
    fn recovers_fast_to_the_level_and_slowly_beyond() {
        let mut window = Window::new(100);
        window.on_throttled(0, 0, 8, None);
        while window.size() > 4 {
            window.on_throttled(1, 1, 8, None);
        }
        (0..3).for_each(|_| window.on_executed(2));
        let before = window.size();
        assert!(before > 4 && before <= 8, "{before}");
        while window.size() < 8 {
            window.on_executed(2);
        }
        (0..8 * PROBE_WINDOWS - 1).for_each(|_| window.on_executed(2));
        assert_eq!(window.size(), 8);
        window.on_executed(2);
        assert_eq!(window.size(), 9);
        (0..9).for_each(|_| window.on_executed(2));
        assert_eq!(window.size(), 10);
    }

    #[test]
    fn a_pause_keeps_what_runs_and_adds_nothing() {
        let mut window = Window::new(16);
        window.on_throttled(100, 50, 3, Some(1_000));
        assert_eq!(window.allowed(1_099), 3);
        assert_eq!(window.allowed(1_100), 8);
        window.on_throttled(1_200, 1_150, 0, Some(1_000));
        assert_eq!(window.allowed(1_300), 0);
        assert_eq!(window.paused_until(1_300), Some(2_200));
    }

    #[test]
    fn an_idle_model_starts_afresh() {
        let mut window = Window::new(16);
        window.on_throttled(0, 0, 0, None);
        window.on_dispatch(IDLE_RESTORE - 1, 0);
        assert_eq!(window.size(), 8);
        window.on_dispatch(3 * IDLE_RESTORE, 0);
        assert_eq!(window.size(), 16);
    }

    #[test]
    fn a_pause_outlasts_idleness() {
        let mut window = Window::new(16);
        window.on_throttled(0, 0, 3, Some(2 * IDLE_RESTORE));
        window.on_dispatch(IDLE_RESTORE + 1, 0);
        assert_eq!(window.allowed(IDLE_RESTORE + 1), 3);
        window.on_dispatch(4 * IDLE_RESTORE, 0);
        assert_eq!(window.allowed(4 * IDLE_RESTORE), 16);
    }

    #[test]
    fn a_lower_ceiling_holds_at_once_and_a_higher_one_is_taken_if_never_cut() {
        let mut window = Window::new(16);
        window.set_max(4);
        assert_eq!(window.size(), 4);
        window.set_max(20);
        assert_eq!(window.size(), 20);
        window.on_throttled(0, 0, 3, None);
        window.set_max(40);
        assert_eq!(window.size(), 10);
    }
}
