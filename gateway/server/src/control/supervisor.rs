//! Keeps the control loop running. While it does not run, the plans in force stay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::decide::{MakeTuner, tuner};
use super::handle::{ControlHandle, MESSAGES};
use super::history::Histories;
use super::task::ControlLoop;
use crate::driver::Invoke;
use crate::http::Readiness;
use crate::lifecycle::Fleet;
use crate::telemetry::Catalogue;

/// Wait before a new start; doubles with each panic that follows soon.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A loop that has run for this long starts over with the first pause.
const GOOD_RUN: Duration = Duration::from_secs(600);

/// What the loop works with.
#[derive(Clone)]
pub(crate) struct Parts<S> {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) invoker: S,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) readiness: Readiness,
    /// Of this process, among all that share a store.
    pub(crate) identity: Arc<str>,
}

/// Starts the loop under supervision. The task ends after [`ControlHandle::stop`].
pub(crate) fn spawn<S: Invoke>(parts: Parts<S>) -> (ControlHandle, JoinHandle<()>) {
    spawn_with(parts, Arc::new(tuner))
}

/// As [`spawn`], with tuners from elsewhere.
pub(super) fn spawn_with<S: Invoke>(
    parts: Parts<S>,
    make: Arc<MakeTuner>,
) -> (ControlHandle, JoinHandle<()>) {
    let (messages, receiver) = mpsc::channel(MESSAGES);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let running = Duration::from_nanos(parts.fleet.driver().now().as_nanos());
    let handle = ControlHandle {
        messages,
        snapshots: Arc::default(),
        histories: Histories::default(),
        is_pausing: Arc::default(),
        fleet: parts.fleet.clone(),
        started_unix_ms: u64::try_from(unix.saturating_sub(running).as_millis()).unwrap_or(u64::MAX),
    };
    let (snapshots, histories) = (handle.snapshots.clone(), handle.histories.clone());
    let is_pausing = handle.is_pausing.clone();
    let supervisor = tokio::spawn(async move {
        let receiver = Arc::new(Mutex::new(receiver));
        let mut pause = FIRST_PAUSE;
        loop {
            let (parts, receiver, make) = (parts.clone(), receiver.clone(), make.clone());
            let (catalogue, snapshots) = (parts.catalogue.clone(), snapshots.clone());
            let histories = histories.clone();
            let start = tokio::time::Instant::now();
            let run = tokio::spawn(async move {
                let mut messages = receiver.lock().await;
                ControlLoop::start(parts, make, snapshots, histories).await.run(&mut messages).await;
            });
            let mut run = AbortOnDrop(run);
            let Err(error) = (&mut run.0).await else { break };
            if error.is_cancelled() {
                break;
            }
            catalogue.control_restarts.inc();
            pause = if start.elapsed() > GOOD_RUN { FIRST_PAUSE } else { pause };
            tracing::error!(%error, ?pause, "the control loop panicked; the plans in force stay, it starts again after a pause");
            is_pausing.store(true, Ordering::Release);
            tokio::time::sleep(pause).await;
            is_pausing.store(false, Ordering::Release);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
    (handle, supervisor)
}

/// The loop ends with its supervisor.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
