//! Begins traces, decides which are recorded, and takes finished spans: never waits, whatever the collector does.
//!
//! **Sampling.** Head sampling, parent-based: a caller's sampled flag decides; a trace that begins here is recorded with the configured
//! share, by the lower half of its id, as other systems do. Nothing is built for a request that is not recorded.

use std::sync::Arc;

use http::HeaderMap;
use prometheus::IntCounter;
use tokio::sync::mpsc;

use super::context::{SpanId, TraceContext, TraceId};
use super::request::{Recording, RequestTrace};
use super::span::Span;

/// Where traces begin and spans go. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    spans: mpsc::Sender<Span>,
    sampler: Sampler,
    full: IntCounter,
    stopped: IntCounter,
}

impl Tracer {
    /// Records nothing; trace contexts of callers are passed on.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    pub(super) fn new(
        spans: mpsc::Sender<Span>,
        sample_share: f64,
        full: IntCounter,
        stopped: IntCounter,
    ) -> Self {
        Self(Some(Arc::new(Shared { spans, sampler: Sampler::new(sample_share), full, stopped })))
    }

    /// The trace that a request belongs to: its caller's, or a new one. `None`: traces are off and it brought none.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap) -> Option<RequestTrace> {
        let parent = TraceContext::read(headers);
        let Some(shared) = &self.0 else {
            return parent.map(RequestTrace::passed_on);
        };
        let Some(parent) = parent else {
            let trace = TraceId::random();
            let is_sampled = shared.sampler.takes(trace);
            let root = TraceContext { trace, span: SpanId::random(), is_sampled, state: None };
            return Some(RequestTrace::new(root, is_sampled.then(|| Recording::new(self.clone(), None))));
        };
        if !parent.is_sampled {
            return Some(RequestTrace::passed_on(parent));
        }
        let recording = Recording::new(self.clone(), Some(parent.span));
        Some(RequestTrace::new(TraceContext { span: SpanId::random(), ..parent }, Some(recording)))
    }

    /// Takes a finished span, or counts it as dropped.
    pub(super) fn finish(&self, span: Span) {
        let Some(shared) = &self.0 else { return };
        match shared.spans.try_send(span) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => shared.full.inc(),
            Err(mpsc::error::TrySendError::Closed(_)) => shared.stopped.inc(),
        }
    }
}

/// Takes a share of all traces.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    /// Ids whose lower 63 bits are below it are taken.
    below: u64,
}

impl Sampler {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=2^63")]
    fn new(share: f64) -> Self {
        const ALL: f64 = (1_u64 << 63) as f64;
        Self { below: (share.clamp(0.0, 1.0) * ALL) as u64 }
    }

    fn takes(self, trace: TraceId) -> bool {
        trace.low() >> 1 < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(sample_share: f64, queue: usize) -> (Tracer, mpsc::Receiver<Span>) {
        let (spans, receiver) = mpsc::channel(queue);
        let counter = |name: &str| IntCounter::new(name, "for a test").unwrap();
        (Tracer::new(spans, sample_share, counter("full"), counter("stopped")), receiver)
    }

    fn headers(traceparent: &str) -> HeaderMap {
        [("traceparent".parse().unwrap(), traceparent.parse().unwrap())].into_iter().collect()
    }

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn the_callers_flag_decides_whatever_the_share() {
        for share in [0.0, 0.5, 1.0] {
            let (tracer, _spans) = tracer(share, 1);
            let sampled = tracer.begin(&headers(SAMPLED)).unwrap();
            assert!(sampled.is_recorded());
            assert_eq!(sampled.id().to_string(), "0af7651916cd43dd8448eb211c80319c");
            let not = tracer.begin(&headers(NOT_SAMPLED)).unwrap();
            assert!(!not.is_recorded());
            assert_eq!(not.context().traceparent(), NOT_SAMPLED, "passed on as it came");
        }
    }

    #[test]
    fn traces_that_begin_here_are_recorded_with_the_configured_share() {
        for (share, range) in [(0.0, 0..=0), (0.25, 4_700..=5_300), (1.0, 20_000..=20_000)] {
            let (tracer, _spans) = tracer(share, 1);
            let none = HeaderMap::new();
            let recorded = (0..20_000).filter(|_| tracer.begin(&none).unwrap().is_recorded()).count();
            assert!(range.contains(&recorded), "{recorded} of 20000 at {share}"); // 0.25: ± 5 standard deviations
        }
    }

    #[test]
    fn without_traces_a_callers_context_is_passed_on_and_none_is_made() {
        let tracer = Tracer::off();
        assert!(tracer.begin(&HeaderMap::new()).is_none());
        let passed = tracer.begin(&headers(SAMPLED)).unwrap();
        assert!(!passed.is_recorded());
        assert_eq!(passed.context().traceparent(), SAMPLED);
    }
}
