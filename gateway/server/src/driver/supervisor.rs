//! Keeps a driver running: a panic answers its requests (their reply channels close), and a new driver takes over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clock::Clock;
use super::task::Driver;
use super::{DriverHandle, DriverLimits, Invoke, ModelSet, ObservationQueue};
use crate::telemetry::Catalogue;

/// More panics than this within [`PANIC_WINDOW`] mean that a restart does not help.
const MAX_PANICS: usize = 5;
/// Time in which panics are counted together.
const PANIC_WINDOW: Duration = Duration::from_secs(60);

/// Whether the driver runs. False for good once restarts have not helped.
#[derive(Clone, Debug)]
pub struct Liveness(Arc<AtomicBool>);

impl Liveness {
    /// Whether the driver runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Starts a driver under supervision. The task ends when every handle is gone and nothing is in flight.
pub fn spawn<S: Invoke>(
    models: Arc<ModelSet>,
    invoker: S,
    catalogue: Arc<Catalogue>,
    limits: DriverLimits,
) -> (DriverHandle, Liveness, JoinHandle<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let liveness = Liveness(Arc::new(AtomicBool::new(true)));
    let alive = liveness.0.clone();
    let latest = Arc::new(ArcSwap::new(models));
    let observations = Arc::new(ObservationQueue::default());
    let clock = Clock::start(); // one for all drivers: what they tell the control loop goes on in one time
    let handle = DriverHandle::new(sender, limits, latest.clone(), observations.clone(), clock);
    let supervisor = tokio::spawn(async move {
        let receiver = Arc::new(Mutex::new(receiver));
        let mut panics = VecDeque::new();
        loop {
            let commands = receiver.clone();
            let driver = Driver::new(
                latest.load_full(),
                invoker.clone(),
                catalogue.clone(),
                clock,
                observations.clone(),
            );
            let run = tokio::spawn(async move { driver.run(&mut *commands.lock().await).await });
            let Err(error) = run.await else { break };
            catalogue.driver_restarts.inc();
            let now = Instant::now();
            panics.push_back(now);
            panics.retain(|&at| now.duration_since(at) < PANIC_WINDOW);
            if error.is_cancelled() || panics.len() > MAX_PANICS {
                tracing::error!(%error, panics = panics.len(), "the driver cannot be kept running; liveness fails from now on");
                receiver.lock().await.close();
                break;
            }
            tracing::error!(%error, "the driver panicked and is started again; its requests were answered with an error");
        }
        let stopped_well = panics.len() <= MAX_PANICS;
        alive.store(stopped_well, Ordering::Release);
    });
    (handle, liveness, supervisor)
}
