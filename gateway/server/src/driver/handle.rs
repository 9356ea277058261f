//! The driver's handle: what the front ends hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_contract::{ModelId, RequestId};
use gateway_policy::Rejection;
use gateway_policy::share::LiveLoad;
use tokio::sync::{mpsc, oneshot};

use super::clock::Clock;
use super::command::{ChannelLoad, Command};
use super::{ClosedWindow, ModelSet, ObservationQueue};
use crate::inference::{Completed, InferError, Inference, Submission};

/// Bounds of what waits between the front ends and the driver. The engine's own queue is bounded by each plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverLimits {
    /// Requests, default 65,536. More only helps a driver that has fallen behind.
    pub channel_requests: usize,
    /// Bytes of their tensors, default 256 MiB.
    pub channel_bytes: usize,
}

impl Default for DriverLimits {
    fn default() -> Self {
        Self { channel_requests: 65_536, channel_bytes: 256 * 1024 * 1024 }
    }
}

/// When a caller may try again after the channel was full: the driver empties it within milliseconds unless it is stuck.
const CHANNEL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Sends requests to the driver. Cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

struct Shared {
    next_id: AtomicU64,
    load: Arc<ChannelLoad>,
    limits: DriverLimits,
    /// What a restarted driver starts from.
    latest: Arc<ArcSwap<ModelSet>>,
    observations: Arc<ObservationQueue>,
    clock: Clock,
}

impl DriverHandle {
    pub(super) fn new(
        commands: mpsc::UnboundedSender<Command>,
        limits: DriverLimits,
        latest: Arc<ArcSwap<ModelSet>>,
        observations: Arc<ObservationQueue>,
        clock: Clock,
    ) -> Self {
        let load = Arc::default();
        let shared = Shared { next_id: AtomicU64::new(1), load, limits, latest, observations, clock };
        Self { commands, shared: Arc::new(shared) }
    }

    /// Puts another set of models and plans into force.
    pub fn update_models(&self, models: Arc<ModelSet>) {
        self.shared.latest.store(models.clone());
        let _ = self.commands.send(Command::Models(models));
    }

    /// Ends a window of a model and gives what was counted in it, its latency at this percentile (0 to 1) included; `None`: the
    /// model is not known, or the driver is gone.
    pub async fn close_window(&self, model: ModelId, percentile: f64) -> Option<ClosedWindow> {
        let (reply, wait) = oneshot::channel();
        self.commands.send(Command::CloseWindow { model, percentile, reply }).ok()?;
        wait.await.ok()
    }

    /// What invocations took, for one reader.
    #[must_use]
    pub fn observations(&self) -> &Arc<ObservationQueue> {
        &self.shared.observations
    }

    /// The time that windows and observations are stamped with.
    #[must_use]
    pub fn now(&self) -> gateway_contract::Timestamp {
        self.shared.clock.now()
    }

    /// Live traffic since the last call, of all models together: for one reader. `None`: the driver is gone.
    pub async fn live_load(&self) -> Option<LiveLoad> {
        let (reply, wait) = oneshot::channel();
        self.commands.send(Command::LiveLoad(reply)).ok()?;
        wait.await.ok()
    }

    /// Brings the gauges that only the engine knows up to date.
    pub async fn refresh_gauges(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::RefreshGauges(done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// Answers once the driver has; false if there is none any more.
    pub async fn answers(&self) -> bool {
        let (reply, wait) = oneshot::channel();
        if self.commands.send(Command::Ping(reply)).is_err() {
            return false;
        }
        wait.await.is_ok() || !self.commands.is_closed() // a panic took the question along; another driver follows
    }

    /// Stops admission, flushes what waits, and returns when nothing is in flight.
    pub async fn drain(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Drain(done)).is_ok() {
            let _ = wait.await;
        }
    }

    #[cfg(test)]
    pub(crate) fn panic_now(&self) {
        let _ = self.commands.send(Command::Panic);
    }
}

/// Tells the driver that the caller left, unless it was answered.
struct CancelOnDrop<'a> {
    handle: &'a DriverHandle,
    id: Option<RequestId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let _ = self.handle.commands.send(Command::Cancel(id));
        }
    }
}

impl Inference for DriverHandle {
    async fn infer(&self, submission: Submission) -> Result<Completed, InferError> {
        let arrived = tokio::time::Instant::now();
        let id = RequestId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        let bytes = submission.inputs.iter().map(|input| input.data.len()).sum();
        let limits = self.shared.limits;
        let full = InferError::Rejected(Rejection::QueueFull { retry_after: CHANNEL_RETRY_AFTER });
        let ticket =
            self.shared.load.admit(bytes, limits.channel_requests, limits.channel_bytes).ok_or(full)?;
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Submit { id, submission, arrived, reply, ticket })
            .map_err(|_| InferError::Stopped)?;
        let mut guard = CancelOnDrop { handle: self, id: Some(id) };
        let result = answer.await;
        guard.id = None;
        result.unwrap_or(Err(InferError::Stopped))
    }
}
