//! One connection from its first byte to its end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpStream;

use super::progress_io::ProgressIo;
use super::service::ConnectionService;
use super::{Application, HttpConfig, HttpTelemetry, Shutdown};

/// Interval of HTTP/2 pings; a peer that does not answer within it is gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How a connection begins that speaks HTTP/2 without asking first. No HTTP/1 request begins so.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The two protocols, configured once.
pub(super) struct Protocol {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_read_timeout: Duration,
    write_timeout: Duration,
    idle_grace: Duration,
}

impl Protocol {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_read_timeout)
            .max_headers(config.max_header_count)
            .max_buf_size(config.max_header_bytes.max(8192));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX));
        Self {
            http1,
            http2,
            header_read_timeout: config.header_read_timeout,
            write_timeout: config.body_read_timeout,
            idle_grace: config.idle_grace,
        }
    }
}

/// Serves a connection until either side ends it.
pub(super) async fn run<A: Application>(
    stream: TcpStream,
    protocol: Arc<Protocol>,
    application: A,
    shutdown: Shutdown,
    telemetry: Arc<dyn HttpTelemetry>,
) {
    // Answers are written whole: waiting for more to send only delays them. Failure means a dead connection.
    let _ = stream.set_nodelay(true);
    let speaks_http2 = tokio::select! {
        begun = tokio::time::timeout(protocol.header_read_timeout, begins_as_http2(&stream)) => match begun {
            Ok(Some(speaks_http2)) => speaks_http2,
            Ok(None) | Err(_) => return,
        },
        () = shutdown.finished() => return,
    };
    let busy = Arc::new(AtomicUsize::new(0));
    let io = ProgressIo::new(stream, protocol.write_timeout);
    let activity = Activity { busy: Arc::clone(&busy), written: io.written() };
    let service = ConnectionService { application, telemetry, busy, shutdown: shutdown.clone() };
    // How a connection ended (reset, time-out, protocol error) concerns no request that was answered.
    if speaks_http2 {
        let connection = protocol.http2.serve_connection(io, service);
        // Its goodbye loses nothing: the client is told which requests were taken.
        drive(connection, activity, protocol.idle_grace, shutdown.closed()).await;
    } else {
        let connection = protocol.http1.serve_connection(io, service);
        drive(connection, activity, protocol.idle_grace, shutdown.finished()).await;
    }
}

/// Looks at the first bytes without taking them. `None`: closed before they came. Waits for the whole preface of HTTP/2, so that
/// the time-out of this wait covers it: the handshake behind it has none.
async fn begins_as_http2(stream: &TcpStream) -> Option<bool> {
    let mut start = [0_u8; HTTP2_PREFACE.len()];
    loop {
        let seen = match stream.peek(&mut start).await {
            Ok(0) | Err(_) => return None,
            Ok(seen) => seen,
        };
        if start[..seen] != HTTP2_PREFACE[..seen] {
            return Some(false);
        }
        if seen == start.len() {
            return Some(true);
        }
        // A few bytes of the preface lie unread, so the socket stays readable: wait a moment for the rest.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a connection; after `told` for as long as it answers or writes, and not longer than `idle_grace` beyond.
async fn drive<C: Connection>(
    connection: C,
    activity: Activity,
    idle_grace: Duration,
    told: impl Future<Output = ()>,
) {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = told => {}
    }
    connection.as_mut().finish();
    loop {
        let before = activity.written.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = tokio::time::sleep(idle_grace) => {}
        }
        let idle = activity.busy.load(Ordering::Relaxed) == 0;
        if idle && activity.written.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// What both protocols' connections can do.
trait Connection: Future {
    /// Takes no further requests; ends when those in work are answered.
    fn finish(self: Pin<&mut Self>);
}

impl<S> Connection for http1::Connection<ProgressIo, S>
where
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Connection for http2::Connection<ProgressIo, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    TokioExecutor: Http2ServerConnExec<S::Future, Body>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Signs of life of a connection.
struct Activity {
    busy: Arc<AtomicUsize>,
    written: Arc<AtomicU64>,
}
