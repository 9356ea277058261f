//! How far a running job is: cheap to read at any moment, for a progress bar and for metrics.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{JobCost, JobCounts, JobSpec, JobState};

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
    /// Chunks that an execution elsewhere has done, and all that it was given; `None` while there is none.
    pub elsewhere: Option<(u64, u64)>,
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
    /// A plan that nobody has been told of.
    plan: Option<String>,
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
            elsewhere: None,
            items_per_second: 0.0,
            time_left: None,
        };
        Self { inner: Mutex::new(Inner { snapshot, begun: None, plan: None }) }
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

    /// What was chosen since the last call: how a plan that was to be learned turned out, for people.
    #[must_use]
    pub fn take_plan(&self) -> Option<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).plan.take()
    }

    /// A plan was chosen.
    pub(crate) fn planned(&self, spec: &JobSpec) {
        let text = format!(
            "plan: chunks of {} items in {} processes of {} MiB (`{}`), {} at a time\n{}",
            spec.chunk.max_items,
            spec.point.process_count,
            spec.point.memory_mib,
            spec.point.qualifier,
            spec.parallelism,
            spec.why.as_deref().unwrap_or_default()
        );
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).plan = Some(text);
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
