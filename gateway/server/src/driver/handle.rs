//! The driver's handle: what the front ends hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_contract::RequestId;
use gateway_policy::Rejection;
use tokio::sync::{mpsc, oneshot};

use super::ModelSet;
use super::command::{ChannelLoad, Command};
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
}

impl DriverHandle {
    pub(super) fn new(
        commands: mpsc::UnboundedSender<Command>,
        limits: DriverLimits,
        latest: Arc<ArcSwap<ModelSet>>,
    ) -> Self {
        let shared = Shared { next_id: AtomicU64::new(1), load: Arc::default(), limits, latest };
        Self { commands, shared: Arc::new(shared) }
    }

    /// Puts another set of models and plans into force.
    pub fn update_models(&self, models: Arc<ModelSet>) {
        self.shared.latest.store(models.clone());
        let _ = self.commands.send(Command::Models(models));
    }

    /// Brings the gauges that only the engine knows up to date.
    pub async fn refresh_gauges(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::RefreshGauges(done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// Stops admission, flushes what waits, and returns when nothing is in flight.
    pub async fn drain(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Drain(done)).is_ok() {
            let _ = wait.await;
        }
    }

    #[cfg(test)]
    pub(super) fn panic_now(&self) {
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
