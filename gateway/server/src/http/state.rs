//! What the handlers share: the thing that answers, the models, readiness, bounds, telemetry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::{HttpConfig, HttpTelemetry};
use crate::inference::Inference;
use crate::registry::Registry;
use crate::telemetry::traces::Tracer;

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Whether this gateway wants traffic. Clones share one value; it starts as not ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    phase: Arc<AtomicU8>,
    /// Models that cannot be served, and why.
    unservable: Arc<ArcSwap<BTreeMap<String, String>>>,
    /// Whether each model was looked at once.
    is_probed: Arc<AtomicBool>,
}

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
        let _ = self.phase.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Wants no new traffic: `/v2/health/ready` says 503. Requests that come nevertheless are the engine's to refuse.
    pub fn set_draining(&self) {
        self.phase.store(DRAINING, Ordering::Release);
    }

    /// Whether traffic is wanted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase.load(Ordering::Acquire) == READY && self.unservable.load().is_empty()
    }

    /// Whether a model can be served, as far as is known.
    #[must_use]
    pub fn is_model_ready(&self, model: &str) -> bool {
        self.phase.load(Ordering::Acquire) == READY && !self.unservable.load().contains_key(model)
    }

    /// Models that cannot be served, and why. While there is one, this gateway is not ready.
    pub fn set_unservable(&self, models: BTreeMap<String, String>) {
        if **self.unservable.load() != models {
            self.unservable.store(Arc::new(models));
        }
    }

    /// Each model was looked at: what is not known to be unservable serves.
    pub fn set_probed(&self) {
        self.is_probed.store(true, Ordering::Release);
    }

    /// Whether each model was looked at since the start.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        self.is_probed.load(Ordering::Acquire)
    }

    /// The first model that cannot be served, and why.
    #[must_use]
    pub fn unservable(&self) -> Option<(String, String)> {
        self.unservable.load().first_key_value().map(|(model, why)| (model.clone(), why.clone()))
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) == DRAINING
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
    /// Where traces begin.
    pub tracer: Tracer,
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
            tracer: Tracer::off(),
            body_bytes: Arc::default(),
            heavy_work: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Records traces.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
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
    fn a_model_that_cannot_be_served_holds_readiness_back_until_it_can() {
        let readiness = Readiness::ready();
        readiness.set_unservable([("m".to_owned(), "no alias".to_owned())].into());
        assert!(!readiness.is_ready() && !readiness.is_model_ready("m") && readiness.is_model_ready("other"));
        assert_eq!(readiness.unservable(), Some(("m".to_owned(), "no alias".to_owned())));
        readiness.set_unservable(BTreeMap::new());
        assert!(readiness.is_ready() && readiness.is_model_ready("m"));
    }

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
