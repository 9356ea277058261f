//! The small part of HTTP that both servers here share: collecting bodies under a bound, answering bytes, serving a
//! connection, and breaking one on purpose. HTTP/1.1 only, loopback only.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// An answer: all of it is known before it is sent.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Bytes of an oversize body that are still read, so that a client that is writing gets its answer.
const DRAIN_BYTES: usize = 64 << 20;

/// A handler's wish that the client gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Break {
    /// Close the connection.
    #[error("the connection is closed without an answer")]
    Close,
    /// Reset the connection.
    #[error("the connection is reset without an answer")]
    Reset,
}

/// A body, collected.
pub(crate) enum Collected {
    /// The whole body and its trailers.
    Whole(Bytes, Option<HeaderMap>),
    /// More than the bound.
    TooLarge {
        /// Bytes that came (at most those that were read).
        bytes: usize,
    },
}

/// Collects `body` up to `limit` bytes.
///
/// # Errors
/// The transport's error when the client breaks off.
pub(crate) async fn collect(mut body: Incoming, limit: usize) -> Result<Collected, hyper::Error> {
    let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let (mut first, mut joined, mut trailers, mut length) = (None, None::<BytesMut>, None, 0_usize);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                length += data.len();
                if length > DRAIN_BYTES {
                    break;
                }
                match (&mut first, &mut joined) {
                    _ if length > limit => {}
                    (_, Some(buffer)) => buffer.extend_from_slice(&data),
                    (None, None) => first = Some(data),
                    (Some(before), None) => {
                        let mut buffer = BytesMut::with_capacity(announced.min(limit).max(length));
                        buffer.extend_from_slice(before);
                        buffer.extend_from_slice(&data);
                        joined = Some(buffer);
                    }
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if length > limit {
        return Ok(Collected::TooLarge { bytes: length.max(announced) });
    }
    let whole = joined.map(BytesMut::freeze).or(first).unwrap_or_default();
    Ok(Collected::Whole(whole, trailers))
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}

/// Serves one connection until it ends. A handler's [`Break`] ends it at once.
pub(crate) async fn serve_connection<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Answer, Break>>,
{
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let breakable = Breakable { stream, reset: Arc::clone(&reset) };
    let service = service_fn(|request| {
        let answer = handler(request);
        let reset = Arc::clone(&reset);
        async move { answer.await.inspect_err(|kind| reset.store(*kind == Break::Reset, Ordering::Relaxed)) }
    });
    // An error here is the other side's way of ending, or our own break: there is nobody left to tell.
    let _ = hyper::server::conn::http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(breakable), service)
        .await;
}

/// A stream that can end with RST instead of FIN.
struct Breakable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Breakable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // A close with zero linger time discards what is unsent and resets.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
