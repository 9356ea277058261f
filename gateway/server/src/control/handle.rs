//! What the admin routes and the reloader hold of the control loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_contract::Timestamp;
use optimizer_tuner::Command;
use optimizer_tuner::surface::Surface;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::history::Histories;
use crate::lifecycle::Fleet;

/// Messages that may wait: more than people send.
pub(super) const MESSAGES: usize = 64;
/// How long an operator's command may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a message asks for.
pub(super) enum Message {
    /// The configuration has changed.
    Reload,
    /// An operator's command.
    Command { model: String, command: Command, reply: oneshot::Sender<Result<(), CommandError>> },
    /// What is believed of a model's operating points.
    Surface { model: String, reply: oneshot::Sender<Result<Believed, CommandError>> },
    /// Answered at once: a sign of life.
    Ping(oneshot::Sender<()>),
    /// Write what was learned, then end.
    Stop(oneshot::Sender<()>),
    /// Panic, so that a test can see the supervisor work.
    #[cfg(test)]
    Panic,
}

/// A surface; `None`: nothing is believed yet.
pub(crate) type Believed = Option<Arc<Surface>>;

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// No such model.
    #[error("no model `{0}`")]
    UnknownModel(String),
    /// It cannot be done; says why.
    #[error("{0}")]
    Refused(String),
    /// The loop did not answer.
    #[error("the control loop does not answer; the plan in force stays")]
    Unavailable,
}

/// What is known of each model, by name: what the admin routes show. Written by the loop after each window.
pub(super) type Snapshots = BTreeMap<String, Arc<Snapshot>>;

/// One model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// A few figures.
    pub(crate) summary: Value,
    /// Everything.
    pub(crate) detail: Value,
    /// Sizes that may be pinned, and the plans that a pin starts from.
    pub(super) pinning: Option<Pinning>,
}

/// What a pinned point is checked against.
#[derive(Clone, Debug)]
pub(super) struct Pinning {
    pub(super) in_force: gateway_contract::ServingPlan,
    pub(super) base: gateway_contract::ServingPlan,
    pub(super) allowed: Vec<gateway_contract::Mebibytes>,
}

/// Speaks to the loop. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ControlHandle {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) snapshots: Arc<ArcSwap<Snapshots>>,
    pub(super) histories: Histories,
    pub(super) fleet: Arc<Fleet>,
    /// When the driver's time began, ms since 1970.
    pub(super) started_unix_ms: u64,
    /// Whether the loop waits to be started again after a panic.
    pub(super) is_pausing: Arc<AtomicBool>,
}

impl ControlHandle {
    /// Tells the loop that the configuration has changed. Never waits: a message that waits already says the same.
    pub(crate) fn reload(&self) {
        if self.messages.try_send(Message::Reload).is_err() {
            tracing::error!(
                "the control loop does not take messages; it goes on with the configuration before"
            );
        }
    }

    /// Runs an operator's command.
    pub(crate) async fn command(&self, model: &str, command: Command) -> Result<(), CommandError> {
        let model = model.to_owned();
        self.ask(|reply| Message::Command { model, command, reply }).await
    }

    /// What is believed of a model's operating points.
    pub(crate) async fn surface(&self, model: &str) -> Result<Believed, CommandError> {
        let model = model.to_owned();
        self.ask(|reply| Message::Surface { model, reply }).await
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Message,
    ) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.messages.try_send(message(reply));
        sent.map_err(|_| CommandError::Unavailable)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(CommandError::Unavailable),
        }
    }

    /// The time that windows, batches and decisions are stamped with.
    pub(crate) fn now(&self) -> Timestamp {
        self.fleet.driver().now()
    }

    /// When that time began, milliseconds since 1970, by this host's clock at the start.
    pub(crate) fn started_unix_ms(&self) -> u64 {
        self.started_unix_ms
    }

    /// What is known of all models.
    pub(crate) fn snapshots(&self) -> Arc<Snapshots> {
        self.snapshots.load_full()
    }

    /// Returns once the loop has answered; at once while it waits to be started again, or after its end.
    pub(crate) async fn answers(&self) {
        let (reply, answer) = oneshot::channel();
        if !self.is_pausing.load(Ordering::Acquire) && self.messages.send(Message::Ping(reply)).await.is_ok()
        {
            let _ = answer.await;
        }
    }

    /// Writes what was learned and ends the loop.
    pub(crate) fn stop(&self) -> impl Future<Output = ()> + use<> {
        let messages = self.messages.clone();
        async move {
            let (done, wait) = oneshot::channel();
            if messages.send(Message::Stop(done)).await.is_ok() {
                let _ = wait.await;
            }
        }
    }

    #[cfg(test)]
    pub(super) async fn panic_now(&self) {
        let _ = self.messages.send(Message::Panic).await;
    }
}
