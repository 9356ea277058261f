//! What the HTTP side reports. It counts nothing itself: the caller maps these calls to metrics and logs.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::inference::Receipt;
use crate::telemetry::traces::TraceId;

/// A finished inference request, good or bad.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// Name of the served model; `None` if the request named none that exists (so that label sets stay closed).
    pub model: Option<&'a str>,
    /// Its head.
    pub headers: &'a HeaderMap,
    /// Status of the answer.
    pub status: u16,
    /// `ok`, or the `code` of the error body; a closed set, see `docs/http.md`.
    pub code: &'static str,
    /// Items; 0 if the request was not read that far.
    pub items: u32,
    /// Head read to answer handed to the connection.
    pub duration: Duration,
    /// Reading, decoding and validating the request.
    pub decode: Duration,
    /// Writing the answer.
    pub encode: Duration,
    /// What the driver said of it; `None` if it got no that far.
    pub receipt: Option<Receipt>,
    /// The trace that it belongs to, recorded or not.
    pub trace: Option<TraceId>,
}

impl RequestRecord<'_> {
    /// What the gateway itself added: duration less queue wait less invocation.
    #[must_use]
    pub fn overhead(&self) -> Option<Duration> {
        let receipt = self.receipt?;
        Some(self.duration.saturating_sub(receipt.queue_wait).saturating_sub(receipt.invoke))
    }
}

/// Receives what happens on a listener. Called on the hot path: must not block.
pub trait HttpTelemetry: Send + Sync + 'static {
    /// A connection was accepted.
    fn connection_opened(&self) {}
    /// An accepted connection is gone.
    fn connection_closed(&self) {}
    /// A connection was turned away because `max_connections` are open.
    fn connection_refused(&self) {}
    /// `accept` failed (out of descriptors, say); the listener backs off and goes on.
    fn accept_failed(&self, _error: &std::io::Error) {}
    /// An inference request was answered.
    fn request_finished(&self, _record: &RequestRecord<'_>) {}
    /// An inference request was given up by its client before it was answered.
    fn request_cancelled(&self, _model: Option<&str>) {}
    /// A handler panicked; its request was answered 500, others go on.
    fn handler_panicked(&self) {}
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTelemetry;

impl HttpTelemetry for NoTelemetry {}
