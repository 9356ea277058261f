//! How far a running job is: cheap to read at any moment, for a progress bar and for metrics.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{JobCost, JobCounts, JobState};

/// A look at a running job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// Where it stands.
    pub state: JobState,
    /// Lines by outcome; those of earlier runners too.
    pub counts: JobCounts,
    /// Cost so far; that of earlier runners too.
    pub cost: JobCost,
    /// Invocations under way.
    pub in_flight: u32,
    /// Invocations that may be under way at most, now.
    pub window: u32,
    /// Invocations that Lambda throttled, in this run.
    pub throttled: u64,
    /// Items answered per second in this run; 0 before the first.
    pub items_per_second: f64,
    /// Time until the last line, at this rate; `None` before there is one.
    pub time_left: Option<Duration>,
}

/// Where a runner writes its progress; share it with whoever shows it.
#[derive(Debug)]
pub struct Progress {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    /// When the first invocation of this run began, and what had been done by then.
    begun: Option<(Instant, JobCounts)>,
}

impl Default for Progress {
    fn default() -> Self {
        let snapshot = Snapshot {
            state: JobState::Validating,
            counts: JobCounts::default(),
            cost: JobCost::default(),
            in_flight: 0,
            window: 0,
            throttled: 0,
            items_per_second: 0.0,
            time_left: None,
        };
        Self { inner: Mutex::new(Inner { snapshot, begun: None }) }
    }
}

impl Progress {
    /// A look.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut snapshot = inner.snapshot;
        if let Some((begun, before)) = inner.begun {
            let seconds = begun.elapsed().as_secs_f64().max(1e-3);
            let items = snapshot.counts.items.saturating_sub(before.items);
            snapshot.items_per_second = items as f64 / seconds;
            let done = |counts: &JobCounts| counts.completed + counts.failed;
            let lines_per_second = done(&snapshot.counts).saturating_sub(done(&before)) as f64 / seconds;
            let left = snapshot.counts.total.saturating_sub(done(&snapshot.counts));
            snapshot.time_left =
                (lines_per_second > 0.0).then(|| Duration::from_secs_f64(left as f64 / lines_per_second));
        }
        snapshot
    }

    /// Changes it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).snapshot);
    }

    /// The first invocation of this run begins.
    pub(crate) fn begin(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = inner.snapshot.counts;
        inner.begun.get_or_insert((Instant::now(), counts));
    }
}
