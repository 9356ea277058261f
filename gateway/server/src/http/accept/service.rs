//! One connection's requests on their way to the application: counted while in work, and kept from each other's panics.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::{Application, HttpTelemetry};
use crate::http::errors::{ApiError, Code};

/// The application as one connection sees it.
pub(super) struct ConnectionService<A> {
    pub(super) application: A,
    pub(super) telemetry: Arc<dyn HttpTelemetry>,
    /// Requests in work.
    pub(super) busy: Arc<AtomicUsize>,
}

impl<A: Application> Service<Request<Incoming>> for ConnectionService<A> {
    type Response = Response;
    type Error = Infallible;
    type Future = RequestFuture<A::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        RequestFuture {
            response: self.application.respond(request),
            telemetry: Arc::clone(&self.telemetry),
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
        _busy: BusyGuard,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for RequestFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // After a panic the future is not polled again: this one is ready then.
        catch_unwind(AssertUnwindSafe(|| this.response.poll(cx))).unwrap_or_else(|_panic| {
            this.telemetry.handler_panicked();
            Poll::Ready(Ok(ApiError::new(Code::Internal, "internal error").into_response()))
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
