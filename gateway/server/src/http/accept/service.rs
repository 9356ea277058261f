//! One connection's requests on their way to the application: counted while in work, kept from each other's panics, and told to leave when the
//! listener is about to close.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::{Application, HttpTelemetry, Shutdown};
use crate::http::errors::{ApiError, Code};

/// The application as one connection sees it.
pub(super) struct ConnectionService<A> {
    pub(super) application: A,
    pub(super) telemetry: Arc<dyn HttpTelemetry>,
    /// Requests in work.
    pub(super) busy: Arc<AtomicUsize>,
    pub(super) shutdown: Shutdown,
}

impl<A: Application> Service<Request<Incoming>> for ConnectionService<A> {
    type Response = Response;
    type Error = Infallible;
    type Future = RequestFuture<A::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // HTTP/2 has a goodbye of its own, and no such header.
        let shutdown = (request.version() < Version::HTTP_2).then(|| self.shutdown.clone());
        RequestFuture {
            response: self.application.respond(request),
            telemetry: Arc::clone(&self.telemetry),
            shutdown,
            _busy: BusyGuard::new(Arc::clone(&self.busy)),
        }
    }
}

pin_project! {
    /// Resolves to what `response` does, or to a 500 if it panics.
    pub(super) struct RequestFuture<F> {
        #[pin]
        response: F,
        telemetry: Arc<dyn HttpTelemetry>,
        shutdown: Option<Shutdown>,
        _busy: BusyGuard,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for RequestFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // After a panic the future is not polled again: this one is ready then.
        let polled = catch_unwind(AssertUnwindSafe(|| this.response.poll(cx))).unwrap_or_else(|_panic| {
            this.telemetry.handler_panicked();
            Poll::Ready(Ok(ApiError::new(Code::Internal, "internal error").into_response()))
        });
        polled.map_ok(|mut response| {
            if this.shutdown.as_ref().is_some_and(Shutdown::is_leaving) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }
}

/// Counts a request as in work for as long as it lives.
struct BusyGuard(Arc<AtomicUsize>);

impl BusyGuard {
    fn new(busy: Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(busy)
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
