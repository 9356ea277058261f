//! The accept loop: connection bounds, time-outs, panic isolation, graceful end.
//!
//! `axum::serve` has no time-out for a request's head: half a request would hold a connection, and a shutdown, for ever.
//! HTTP/1 and HTTP/2 (prior knowledge) share the port. Deliberately absent: TLS and upgrades.

mod connection;
mod progress_io;
mod refusal;
mod service;
mod shutdown;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use hyper::Request;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::Service;

pub use self::shutdown::Shutdown;

use super::{HttpConfig, HttpTelemetry};

const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// Answers requests: what a listener serves.
pub trait Application: Clone + Send + Sync + 'static {
    /// An answer on its way. Dropped when the client is gone.
    type Future: Future<Output = Result<Response, Infallible>> + Send + 'static;

    /// Begins to answer a request.
    fn respond(&self, request: Request<Incoming>) -> Self::Future;
}

impl Application for axum::Router {
    type Future = RouteFuture<Infallible>;

    fn respond(&self, request: Request<Incoming>) -> Self::Future {
        // A router is always ready, so there is nothing to wait for first.
        self.clone().call(request.map(Body::new))
    }
}

/// Serves `application` until `shutdown` says otherwise, step by step; returns when it accepts no more and every connection has ended. The caller
/// bounds that wait: dropping this future closes everything.
pub async fn serve<A: Application>(
    listener: TcpListener,
    application: A,
    config: &HttpConfig,
    shutdown: Shutdown,
    telemetry: Arc<dyn HttpTelemetry>,
) {
    let slots = Arc::new(Semaphore::new(config.max_connections.max(1)));
    let refusals = Arc::new(Semaphore::new(refusal::MAX_AT_ONCE));
    let protocol = Arc::new(connection::Protocol::new(config));
    let mut tasks = JoinSet::new();
    let mut backoff = FIRST_BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.closed() => break,
            accepted = listener.accept() => accepted,
        };
        while tasks.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _peer)) => {
                backoff = FIRST_BACKOFF;
                stream
            }
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                telemetry.accept_failed(&error);
                tokio::select! {
                    () = shutdown.closed() => break,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
                continue;
            }
        };
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            let (protocol, application) = (Arc::clone(&protocol), application.clone());
            let (shutdown, telemetry) = (shutdown.clone(), Arc::clone(&telemetry));
            tasks.spawn(async move {
                let _slot = slot;
                let _count = ConnectionCount::new(Arc::clone(&telemetry));
                connection::run(stream, protocol, application, shutdown, telemetry).await;
            });
        } else {
            telemetry.connection_refused();
            refuse(stream, &refusals, &mut tasks);
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Tells a client too many that it is one, unless too many are being told already.
fn refuse(stream: TcpStream, refusals: &Arc<Semaphore>, tasks: &mut JoinSet<()>) {
    if let Ok(permit) = Arc::clone(refusals).try_acquire_owned() {
        tasks.spawn(async move {
            let _permit = permit;
            refusal::send(stream).await;
        });
    }
}

/// Failures that concern the connection that was to be accepted, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused]
        .contains(&error.kind())
}

/// Reports a connection's end however it comes, a panic included.
struct ConnectionCount(Arc<dyn HttpTelemetry>);

impl ConnectionCount {
    fn new(telemetry: Arc<dyn HttpTelemetry>) -> Self {
        telemetry.connection_opened();
        Self(telemetry)
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}
