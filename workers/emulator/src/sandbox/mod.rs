//! One sandbox: a bootstrap process with its Runtime API, its cell and its log, that runs one invocation at a time. The
//! state machine is here; the HTTP of the Runtime API is in `runtime_api`, starting the process in `spawn`. Who gets which
//! sandbox is decided elsewhere (`fleet`, `executor`).
//!
//! Order of events: started → first `next` ends INIT → an event is assigned (thawed first) → handed to a waiting or coming
//! `next` → answered → `next` again → frozen after the grace time. A sandbox counts as idle from its answer on: an event
//! that is assigned before the runtime's `next` arrives waits for it, so that back-to-back invocations stay warm.

mod logs;
mod runtime_api;
mod spawn;

use crate::config::LifecycleConfig;
use crate::metering::Cell;
use crate::report::{Failure, exit_text};
use crate::sync::lock;
use bytes::Bytes;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

pub(crate) use logs::LogBuffer;
pub(crate) use spawn::{StartError, Surroundings, start};

/// What an invocation hands to the function.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) request_id: String,
    pub(crate) payload: Bytes,
    pub(crate) client_context: Option<String>,
    pub(crate) trace_id: String,
    pub(crate) invoked_arn: String,
}

/// How an assigned event ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The runtime answered.
    Answered { body: Bytes, error: Option<FunctionError>, duration: Duration },
    /// The runtime's answer was over the limit.
    TooLarge { bytes: usize, duration: Duration },
    /// The bootstrap ended while it had the event.
    Failed { failure: Failure, duration: Duration },
    /// The bootstrap ended before it took the event: nothing was executed.
    Undelivered,
}

/// The two kinds of function errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FunctionError {
    Handled,
    Unhandled,
}

/// How INIT ended.
#[derive(Debug)]
pub(crate) enum InitEnding {
    /// The runtime asked for its first event.
    Ready(Duration),
    /// The runtime reported an error.
    Reported { body: Bytes },
    /// The bootstrap ended.
    Failed(Failure),
}

/// One sandbox.
pub(crate) struct Sandbox {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) runtime_api: SocketAddr,
    pub(crate) cell: Box<dyn Cell>,
    pub(crate) logs: Arc<LogBuffer>,
    lifecycle: LifecycleConfig,
    started: Instant,
    slot: Mutex<Slot>,
}

struct Slot {
    dead: bool,
    frozen: bool,
    /// Counts assignments: a delayed freeze acts only if nothing came in between.
    epoch: u64,
    init: Option<oneshot::Sender<InitEnding>>,
    queued: Option<Job>,
    active: Option<Active>,
    waiting: Option<oneshot::Sender<()>>,
}

struct Job {
    event: Arc<Event>,
    deadline_ms: u128,
    done: oneshot::Sender<Ending>,
}

struct Active {
    request_id: String,
    delivered: Instant,
    done: oneshot::Sender<Ending>,
}

/// An event on its way to the runtime.
pub(crate) struct Delivery {
    pub(crate) event: Arc<Event>,
    pub(crate) deadline_ms: u128,
}

/// A snapshot for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SandboxState {
    Initialising,
    Busy,
    Idle,
    Frozen,
    Dead,
}

impl Sandbox {
    /// Gives `event` to this sandbox, which is thawed first. The ending comes through the receiver; a dropped receiver
    /// changes nothing for the sandbox. `None` when the sandbox is dead.
    pub(crate) fn assign(&self, event: Arc<Event>, deadline_ms: u128) -> Option<oneshot::Receiver<Ending>> {
        let (done, ending) = oneshot::channel();
        let mut slot = lock(&self.slot);
        if slot.dead {
            return None;
        }
        slot.epoch += 1;
        if slot.frozen {
            self.cell.thaw();
            slot.frozen = false;
        }
        slot.queued = Some(Job { event, deadline_ms, done });
        if let Some(waiting) = slot.waiting.take() {
            let _ = waiting.send(());
        }
        Some(ending)
    }

    /// The runtime asks for its next event. Ends INIT when it is the first time; waits as long as there is none.
    pub(crate) async fn next(self: &Arc<Self>) -> Delivery {
        loop {
            let waiting = {
                let mut slot = lock(&self.slot);
                if let Some(init) = slot.init.take() {
                    let _ = init.send(InitEnding::Ready(self.started.elapsed()));
                }
                if let Some(Job { event, deadline_ms, done }) = slot.queued.take() {
                    let request_id = event.request_id.clone();
                    slot.active = Some(Active { request_id, delivered: Instant::now(), done });
                    return Delivery { event, deadline_ms };
                }
                let (waiting, woken) = oneshot::channel();
                slot.waiting = Some(waiting);
                self.freeze_soon(&mut slot);
                woken
            };
            // A sender that is dropped means that a newer `next` took this one's place.
            if waiting.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The runtime answers `request_id`. False when it is not the one that it was given.
    pub(crate) fn answer(&self, request_id: &str, ending: impl FnOnce(Duration) -> Ending) -> bool {
        let active = {
            let mut slot = lock(&self.slot);
            slot.active.take_if(|active| active.request_id == request_id)
        };
        let Some(active) = active else { return false };
        let _ = active.done.send(ending(active.delivered.elapsed()));
        true
    }

    /// The runtime reports that INIT failed.
    pub(crate) fn init_failed(&self, body: Bytes) {
        let init = lock(&self.slot).init.take();
        if let Some(init) = init {
            let _ = init.send(InitEnding::Reported { body });
        }
    }

    /// The bootstrap is gone: everything that was promised is settled. Returns once; the caller then closes the cell.
    fn exited(&self, status: Option<ExitStatus>) {
        let failure = match (self.cell.usage().memory_kills, status.and_then(exit_text)) {
            (1.., Some(how)) if how == "signal: killed" => Failure::OutOfMemory,
            (_, how) => Failure::Exited { how },
        };
        let (init, queued, active) = {
            let mut slot = lock(&self.slot);
            slot.dead = true;
            (slot.init.take(), slot.queued.take(), slot.active.take())
        };
        if let Some(init) = init {
            let _ = init.send(InitEnding::Failed(failure.clone()));
        }
        if let Some(job) = queued {
            let _ = job.done.send(Ending::Undelivered);
        }
        if let Some(active) = active {
            let duration = active.delivered.elapsed();
            let _ = active.done.send(Ending::Failed { failure, duration });
        }
    }

    /// Ends the sandbox with all its processes; no event is accepted any more.
    pub(crate) fn kill(&self) {
        lock(&self.slot).dead = true;
        self.cell.kill();
        crate::metering::processes::signal_group(self.pid, nix::sys::signal::Signal::SIGKILL);
    }

    /// What the sandbox does now.
    pub(crate) fn state(&self) -> SandboxState {
        let slot = lock(&self.slot);
        match &*slot {
            Slot { dead: true, .. } => SandboxState::Dead,
            Slot { init: Some(_), .. } => SandboxState::Initialising,
            Slot { active, queued, .. } if active.is_some() || queued.is_some() => SandboxState::Busy,
            Slot { frozen: true, .. } => SandboxState::Frozen,
            Slot { .. } => SandboxState::Idle,
        }
    }

    fn freeze_soon(self: &Arc<Self>, slot: &mut Slot) {
        if !self.lifecycle.freeze || slot.dead {
            return;
        }
        if self.lifecycle.freeze_grace_ms == 0 {
            self.cell.freeze();
            slot.frozen = true;
            return;
        }
        let (sandbox, epoch) = (Arc::clone(self), slot.epoch);
        let grace = Duration::from_millis(self.lifecycle.freeze_grace_ms);
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let mut slot = lock(&sandbox.slot);
            if slot.epoch == epoch && slot.waiting.is_some() && !slot.dead && !slot.frozen {
                sandbox.cell.freeze();
                slot.frozen = true;
            }
        });
    }
}
