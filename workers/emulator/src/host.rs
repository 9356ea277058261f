//! What all parts of a running emulator share. No behaviour of its own beyond handing out ids and counting.

use crate::config::EmulatorConfig;
use crate::faults::FaultScript;
use crate::ids::IdSource;
use crate::ledger::Ledger;
use crate::limits::{Limits, Share, ThrottleReason};
use crate::metering::Meter;
use crate::registry::Registry;
use crate::sync::lock;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Asynchronous invocations that may wait or run at once.
pub(crate) const EVENT_CAPACITY: usize = 10_000;

/// The shared state.
pub(crate) struct Host {
    pub(crate) config: EmulatorConfig,
    pub(crate) ids: IdSource,
    pub(crate) meter: Box<dyn Meter>,
    pub(crate) ledger: Ledger,
    pub(crate) registry: Registry,
    pub(crate) code_dir: PathBuf,
    pub(crate) limits: Mutex<Limits>,
    pub(crate) events: tokio::sync::Semaphore,
    pub(crate) stop: CancellationToken,
    faults: Mutex<FaultScript>,
    has_faults: AtomicBool,
    sandbox_count: AtomicU64,
    sandboxes: TaskTracker,
}

impl Host {
    /// The state of an emulator that has no functions yet.
    pub(crate) fn new(config: EmulatorConfig, meter: Box<dyn Meter>, code_dir: PathBuf, seed: u64) -> Self {
        let faults = FaultScript::new(config.fault.clone());
        Self {
            ids: IdSource::new(seed),
            meter,
            ledger: Ledger::default(),
            registry: Registry::default(),
            code_dir,
            limits: Mutex::new(Limits::new(config.limits, Instant::now())),
            events: tokio::sync::Semaphore::new(EVENT_CAPACITY),
            stop: CancellationToken::new(),
            has_faults: AtomicBool::new(!faults.is_empty()),
            faults: Mutex::new(faults),
            sandbox_count: AtomicU64::new(0),
            sandboxes: TaskTracker::new(),
            config,
        }
    }

    /// ARN of `function`, without a qualifier.
    pub(crate) fn arn(&self, function: &str) -> String {
        format!("arn:aws:lambda:{}:{}:function:{function}", self.config.region, self.config.account_id)
    }

    /// Number of the next sandbox.
    pub(crate) fn next_sandbox_id(&self) -> u64 {
        self.sandbox_count.fetch_add(1, Ordering::Relaxed)
    }

    /// Held as long as a sandbox has anything left to clean up.
    pub(crate) fn sandbox_guard(&self) -> TaskTrackerToken {
        self.sandboxes.token()
    }

    /// Waits until every sandbox is cleaned up.
    pub(crate) async fn all_sandboxes_gone(&self) {
        self.sandboxes.close();
        self.sandboxes.wait().await;
    }

    /// Asks for a new environment of `function`.
    ///
    /// # Errors
    /// The reason of a throttle.
    pub(crate) fn admit_environment(&self, function: &str) -> Result<(), ThrottleReason> {
        lock(&self.limits).new_environment(function, Instant::now())
    }

    /// Admits an execution of `function` until the ticket is dropped.
    ///
    /// # Errors
    /// The reason of a throttle.
    pub(crate) fn admit(self: &Arc<Self>, function: &str) -> Result<Ticket, ThrottleReason> {
        let share = lock(&self.limits).admit(function, Instant::now())?;
        Ok(Ticket { host: Arc::clone(self), function: function.to_owned(), share })
    }

    /// The fault of this invocation, if any.
    pub(crate) fn fault(
        &self,
        function: &str,
        qualifier: &str,
        payload: &[u8],
    ) -> Option<crate::faults::FaultAction> {
        if !self.has_faults.load(Ordering::Relaxed) {
            return None;
        }
        lock(&self.faults).decide(function, qualifier, payload)
    }

    /// Replaces the fault script.
    pub(crate) fn set_faults(&self, script: FaultScript) {
        let mut faults = lock(&self.faults);
        self.has_faults.store(!script.is_empty(), Ordering::Relaxed);
        *faults = script;
    }

    /// Reads the fault script.
    pub(crate) fn with_faults<T>(&self, read: impl FnOnce(&FaultScript) -> T) -> T {
        read(&lock(&self.faults))
    }
}

/// An admitted execution.
pub(crate) struct Ticket {
    host: Arc<Host>,
    function: String,
    share: Share,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.host.limits).release(&self.function, self.share);
    }
}
