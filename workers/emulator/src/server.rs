//! The listener of the API: accepts, routes to the Lambda API or the emulator's own endpoints, and stops.

use crate::host::Host;
use crate::http_io::{Answer, Break, serve_connection};
use crate::{admin, api};
use http::Request;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long connections may go on after the end was asked for.
const DRAIN: Duration = Duration::from_millis(200);

/// Accepts connections until the host stops.
pub(crate) async fn serve(host: Arc<Host>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = host.stop.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let host = Arc::clone(&host);
                connections.spawn(async move {
                    serve_connection(stream, |request| handle(Arc::clone(&host), request)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Answers that are being written get a moment; idle connections are closed.
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn handle(host: Arc<Host>, request: Request<Incoming>) -> Result<Answer, Break> {
    if let Some(path) = request.uri().path().strip_prefix("/_penstock/") {
        let path = path.to_owned();
        return Ok(admin::handle(&host, &path, request).await);
    }
    api::handle(host, request).await
}
