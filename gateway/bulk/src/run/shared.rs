//! What the tasks of one run share: the window, the budget, and why to stop.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::budget::{Aside, Budget, Verdict};
use super::window::Window;
use crate::{JobCost, JobFailure};

/// Why no invocation begins any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Whoever runs it wants to end; the job goes on another time.
    Stopped,
    /// The caller wants the job no more.
    Cancelled,
    /// Its time is up.
    Expired,
    /// It cannot go on.
    Failed(JobFailure),
}

/// Waits this long at most before it looks again: the ramp moves by time.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Single items that may fail one after the other without a success: before the first success, and after.
const FUTILE: (u32, u32) = (64, 1000);

/// Shared by the tasks of one run.
#[derive(Debug)]
pub(crate) struct Shared {
    begun: Instant,
    window: Mutex<Window>,
    budget: Mutex<Budget>,
    changed: Notify,
    halt: watch::Sender<Option<Halt>>,
    futile: AtomicU32,
    successes: AtomicU64,
    /// When Lambda last executed something, milliseconds since `begun`.
    executed_ms: AtomicU64,
    pub(crate) throttled: AtomicU64,
    /// Bound of items of later chunks: halved when an answer was too large.
    pub(crate) max_items: AtomicU32,
}

/// The right to run one invocation, with the dollars set aside for it.
#[derive(Debug)]
pub(crate) struct Place<'s> {
    shared: &'s Shared,
    aside: Option<Aside>,
    items: u32,
    pub(crate) began: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(parallelism: u32, max_items: u32, budget: Budget) -> Self {
        Self {
            begun: Instant::now(),
            window: Mutex::new(Window::new(parallelism)),
            budget: Mutex::new(budget),
            changed: Notify::new(),
            halt: watch::Sender::new(None),
            futile: AtomicU32::new(0),
            successes: AtomicU64::new(0),
            executed_ms: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            max_items: AtomicU32::new(max_items),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for a place; `None` once the run is halted.
    pub(crate) async fn place(&self, items: u32) -> Option<Place<'_>> {
        let mut halt = self.halt.subscribe();
        loop {
            let changed = self.changed.notified();
            if halt.borrow_and_update().is_some() {
                return None;
            }
            match self.try_place(items) {
                Ok(Some(place)) => return Some(place),
                Ok(None) => {}
                Err(failure) => {
                    self.stop(Halt::Failed(failure));
                    return None;
                }
            }
            tokio::select! {
                () = changed => {}
                _ = halt.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn try_place(&self, items: u32) -> Result<Option<Place<'_>>, JobFailure> {
        let began = self.now();
        let mut window = lock(&self.window);
        if window.in_flight() >= window.allowed(began) {
            return Ok(None);
        }
        match lock(&self.budget).ask(items) {
            Verdict::Begin(aside) => {
                let has_begun = window.begin(began);
                debug_assert!(has_begun, "there was room under the same lock");
                Ok(Some(Place { shared: self, aside: Some(aside), items, began }))
            }
            Verdict::Wait => Ok(None),
            Verdict::Spent => {
                let text =
                    "one more invocation could pass `max_usd`; raise it and run the job again to go on";
                Err(JobFailure::new("budget_exhausted", text))
            }
        }
    }

    /// Ends the run; the first reason counts.
    pub(crate) fn stop(&self, why: Halt) {
        self.halt.send_if_modified(|halt| {
            let is_first = halt.is_none();
            if is_first {
                *halt = Some(why);
            }
            is_first
        });
        self.changed.notify_waiters();
    }

    /// Why it was halted.
    pub(crate) fn halted(&self) -> Option<Halt> {
        self.halt.borrow().clone()
    }

    /// Waits until it is halted.
    pub(crate) async fn until_halted(&self) {
        let mut halt = self.halt.subscribe();
        let _sender_lives_in_self = halt.wait_for(Option::is_some).await;
    }

    /// Sleeps, but not beyond a halt.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.until_halted() => {}
        }
    }

    /// An invocation gave values.
    pub(crate) fn succeeded(&self) {
        self.futile.store(0, Ordering::Relaxed);
        self.successes.fetch_add(1, Ordering::Relaxed);
        lock(&self.window).succeeded();
    }

    /// Lambda executed something, whatever came of it.
    pub(crate) fn executed(&self) {
        let now = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        self.executed_ms.store(now, Ordering::Relaxed);
    }

    /// How long Lambda has executed nothing.
    pub(crate) fn idle(&self) -> Duration {
        self.now().saturating_sub(Duration::from_millis(self.executed_ms.load(Ordering::Relaxed)))
    }

    /// An item failed all alone with its function. Too many of them in a row, and it is the function that is broken.
    pub(crate) fn failed_alone(&self, message: &str) {
        let futile = self.futile.fetch_add(1, Ordering::Relaxed) + 1;
        let most = if self.successes.load(Ordering::Relaxed) == 0 { FUTILE.0 } else { FUTILE.1 };
        if futile >= most {
            let text = format!(
                "{futile} items in a row failed alone with the function itself, the last one: {message}"
            );
            self.stop(Halt::Failed(JobFailure::new("function_broken", text)));
        }
    }

    /// Spent so far.
    pub(crate) fn cost(&self) -> JobCost {
        lock(&self.budget).cost()
    }

    /// Somebody else's invocation, paid for by the job, cost this.
    pub(crate) fn spend(&self, cost: &JobCost) {
        lock(&self.budget).spend(cost);
    }

    /// Invocations under way, and how many may be.
    pub(crate) fn load(&self) -> (u32, u32) {
        let window = lock(&self.window);
        (window.in_flight(), window.allowed(self.now()))
    }
}

impl Place<'_> {
    /// Lambda refused it for load.
    pub(crate) fn throttled(&self) {
        self.shared.throttled.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.window).throttled(self.began, self.shared.now());
    }

    /// It has ended and cost this.
    pub(crate) fn settle(mut self, cost: &JobCost) {
        self.end(cost);
    }

    fn end(&mut self, cost: &JobCost) {
        if let Some(aside) = self.aside.take() {
            lock(&self.shared.budget).settle(aside, self.items, cost);
            lock(&self.shared.window).end();
            self.shared.changed.notify_waiters();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.end(&JobCost::default());
    }
}
