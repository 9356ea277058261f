//! What the handlers share: the thing that answers, the models, readiness, bounds, telemetry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::{HttpConfig, HttpTelemetry};
use crate::inference::Inference;
use crate::registry::Registry;

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Whether this gateway wants traffic. Clones share one value; it starts as not ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Ready from the start: for tests and measurements.
    #[must_use]
    pub fn ready() -> Self {
        let readiness = Self::default();
        readiness.set_ready();
        readiness
    }

    /// Takes traffic from now on. Has no effect once draining: a drain ends in an exit.
    pub fn set_ready(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Wants no new traffic: `/v2/health/ready` says 503. Requests that come nevertheless are the engine's to refuse.
    pub fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether traffic is wanted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == DRAINING
    }
}

/// Shared state of the public routes. Cheap to clone.
#[derive(Clone)]
pub struct HttpState<I> {
    /// Answers requests.
    pub inference: I,
    /// The served models.
    pub registry: Arc<ArcSwap<Registry>>,
    /// Whether traffic is wanted.
    pub readiness: Readiness,
    /// Bounds.
    pub config: Arc<HttpConfig>,
    /// Where counts go.
    pub telemetry: Arc<dyn HttpTelemetry>,
    /// Bytes of the bodies now held.
    pub(crate) body_bytes: Arc<AtomicUsize>,
    /// Bounds the work that is done aside: reading and writing large bodies, decompression.
    pub(crate) heavy_work: Arc<Semaphore>,
}

impl<I: Inference> HttpState<I> {
    /// Puts the parts together.
    pub fn new(
        inference: I,
        registry: Arc<ArcSwap<Registry>>,
        readiness: Readiness,
        config: HttpConfig,
        telemetry: Arc<dyn HttpTelemetry>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            inference,
            registry,
            readiness,
            config: Arc::new(config),
            telemetry,
            body_bytes: Arc::default(),
            heavy_work: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Bytes of request bodies now held; back to 0 when nothing is in flight.
    #[must_use]
    pub fn inflight_body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_final() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready(), "not ready before it is said");
        readiness.set_ready();
        assert!(readiness.is_ready());
        readiness.set_draining();
        readiness.set_ready();
        assert!(!readiness.is_ready() && readiness.is_draining());
    }
}
