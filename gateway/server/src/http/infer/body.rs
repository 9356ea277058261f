//! Reads a request's body within its bounds of bytes, pieces, time and common memory.
//!
//! A body that came in one piece (nearly all do) is taken as it is, without a copy and without a timer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::body::Body;

use super::super::HttpConfig;
use super::super::errors::{ApiError, Code};

/// A read body, counted in the common memory for as long as it lives.
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    share: MemoryShare,
}

impl HeldBody {
    /// Puts the decompressed body in the place of the compressed one.
    pub(crate) fn replace(&mut self, plain: Bytes, config: &HttpConfig) -> Result<(), ApiError> {
        self.bytes = plain;
        self.share.grow(self.bytes.len(), config)
    }
}

/// Reads all of `body`.
pub(crate) async fn read<B>(
    mut body: B,
    config: &HttpConfig,
    held_bytes: &Arc<AtomicUsize>,
) -> Result<HeldBody, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint();
    let length = announced.exact().and_then(|exact| usize::try_from(exact).ok());
    if announced.lower() > u64::try_from(config.max_body_bytes).unwrap_or(u64::MAX) {
        return Err(too_large(config));
    }
    let mut share = MemoryShare { held_bytes: Arc::clone(held_bytes), bytes: 0 };
    share.grow(length.unwrap_or(0), config)?;
    let first = match poll_fn(|cx| Poll::Ready(poll_data(&mut body, cx))).await {
        Poll::Ready(Some(data)) => Some(data?),
        Poll::Ready(None) => {
            return Ok(HeldBody { bytes: Bytes::new(), share });
        }
        Poll::Pending => None,
    };
    if let Some(whole) = &first
        && length == Some(whole.len())
    {
        return Ok(HeldBody { bytes: whole.clone(), share });
    }
    let rest = collect(body, first, length, config, &mut share);
    let bytes = match tokio::time::timeout(config.body_read_timeout, rest).await {
        Ok(bytes) => bytes?,
        Err(_elapsed) => {
            return Err(ApiError::new(Code::RequestTimeout, "the body did not arrive in time"));
        }
    };
    Ok(HeldBody { bytes, share })
}

async fn collect<B>(
    mut body: B,
    first: Option<Bytes>,
    length: Option<usize>,
    config: &HttpConfig,
    share: &mut MemoryShare,
) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut collected = BytesMut::with_capacity(length.unwrap_or(0));
    let mut pieces = 0_usize;
    let mut next = first;
    loop {
        if let Some(piece) = next.take() {
            pieces += 1;
            let size = collected.len() + piece.len();
            if size > config.max_body_bytes {
                return Err(too_large(config));
            }
            if length.is_none() {
                if pieces > config.max_body_chunks {
                    let text = format!("the body has more than {} chunks", config.max_body_chunks);
                    return Err(ApiError::new(Code::TooLarge, text));
                }
                share.grow(piece.len(), config)?;
            }
            collected.extend_from_slice(&piece);
        }
        match poll_fn(|cx| poll_data(&mut body, cx)).await {
            Some(data) => next = Some(data?),
            None => return Ok(collected.freeze()),
        }
    }
}

/// The next piece of data; trailers are passed over.
fn poll_data<B>(body: &mut B, cx: &mut std::task::Context<'_>) -> Poll<Option<Result<Bytes, ApiError>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
            Poll::Ready(Some(Err(_cut_off))) => {
                let error =
                    ApiError::new(Code::InvalidRequest, "the body is cut off or its chunks are malformed");
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

fn too_large(config: &HttpConfig) -> ApiError {
    ApiError::new(Code::TooLarge, format!("the body exceeds {} bytes", config.max_body_bytes))
}

/// A part of the memory that all bodies share, given back on drop.
struct MemoryShare {
    held_bytes: Arc<AtomicUsize>,
    bytes: usize,
}

impl MemoryShare {
    fn grow(&mut self, more: usize, config: &HttpConfig) -> Result<(), ApiError> {
        let before = self.held_bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if before.saturating_add(more) > config.max_inflight_body_bytes {
            return Err(ApiError::new(Code::Overloaded, "too many bytes of requests in flight"));
        }
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
