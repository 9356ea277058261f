//! Batches that come by reference: the payload names two objects, the batch is read from one and its answer written to the other.
//!
//! *Who may read what.* Only below one prefix, given by the environment of the function; without it every reference is refused. The role of
//! the function should allow no more than that either.
//! *Twice is as good as once.* If the answer is there already the chunk is not run again: whoever retries after a lost receipt pays for one
//! look. Two that run at the same time each write a whole, right answer. Deliberately absent: lists, deletes, and any other store than S3.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_runtime::Diagnostic;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use workers_protocol::{ChunkReceipt, ChunkReference, LAMBDA_PAYLOAD_LIMIT_BYTES, Report};

use crate::handler::{Answered, diagnostic, protocol_error};

/// Of the time left, the part (one in this many) that is kept for writing the answer, and its bounds.
const WRITE_SHARE: u32 = 10;
const WRITE: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(10);

/// Batches in S3.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// `s3://bucket/prefix/`.
    prefix: Option<String>,
    /// Of that bucket, from the first chunk on: its connections outlive an invocation.
    store: OnceCell<Arc<dyn ObjectStore>>,
}

impl Chunks {
    pub(crate) fn new(prefix: Option<&str>) -> Self {
        let prefix = prefix.map(|prefix| format!("{}/", prefix.trim_end_matches('/')));
        Self { prefix, store: OnceCell::new() }
    }

    /// The reference that a payload is, if it is one.
    pub(crate) fn reference(&self, payload: &[u8]) -> Result<Option<ChunkReference>, Diagnostic> {
        let reference = ChunkReference::decode(payload).map_err(|error| protocol_error(&error))?;
        if let Some(reference) = &reference {
            self.check(&reference.request)?;
            self.check(&reference.answer)?;
        }
        Ok(reference)
    }

    fn check(&self, url: &str) -> Result<(), Diagnostic> {
        let text = match &self.prefix {
            Some(prefix) if url.starts_with(prefix) => return Ok(()),
            Some(prefix) => format!("`{url}` is not below `{prefix}`, where chunks of this function lie"),
            None => "this function takes no chunks by reference: `PENSTOCK_CHUNKS` is not set".to_owned(),
        };
        Err(diagnostic("ChunkRefused", text))
    }

    fn store(&self, url: &str) -> Result<&dyn ObjectStore, Diagnostic> {
        if let Some(store) = self.store.get() {
            return Ok(&**store);
        }
        let (store, _) = gateway_objects::s3(url).map_err(refused)?;
        Ok(&**self.store.get_or_init(|| store))
    }

    /// Runs a chunk by reference, unless it was run before; gives the encoded receipt.
    pub(crate) async fn answer(
        &self,
        reference: &ChunkReference,
        started: Instant,
        left: Duration,
        answer: impl FnOnce(&[u8], Instant) -> Result<Answered, Diagnostic>,
    ) -> Result<Vec<u8>, Diagnostic> {
        let end = started + left;
        let (from, to) = (key(&reference.request)?, key(&reference.answer)?);
        let store = self.store(&reference.answer)?;
        // Whatever keeps it from being seen, such as a role without the right to list: then it is run.
        if within(end, store.head(&to)).await.is_ok() {
            let report = Report { handler_us: micros(started.elapsed()), ..Report::default() };
            return Ok(ChunkReceipt { batch: 0, items: 0, errors: 0, was_there: true, report }.encode());
        }
        let request = read(store, &from, end).await?;
        let kept =
            (end.saturating_duration_since(Instant::now()) / WRITE_SHARE).clamp(*WRITE.start(), *WRITE.end());
        let answered = answer(&request, end.checked_sub(kept).unwrap_or(started))?;
        let Answered { payload, batch, items, errors, report } = answered;
        within(end, store.put(&to, payload.into())).await.map_err(unavailable)?;
        let (items, errors) = (items as u64, errors as u64);
        Ok(ChunkReceipt { batch, items, errors, was_there: false, report }.encode())
    }
}

/// The key of a URL that was checked.
fn key(url: &str) -> Result<Path, Diagnostic> {
    let key = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).map_or("", |(_, key)| key);
    Path::parse(key).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Diagnostic {
    diagnostic("ChunkRefused", error.to_string())
}

async fn read(store: &dyn ObjectStore, from: &Path, end: Instant) -> Result<Bytes, Diagnostic> {
    let found = within(end, store.get(from)).await.map_err(unavailable)?;
    if found.meta.size > LAMBDA_PAYLOAD_LIMIT_BYTES as u64 {
        let text = format!(
            "`{from}` has {} bytes, a batch has at most {LAMBDA_PAYLOAD_LIMIT_BYTES}",
            found.meta.size
        );
        return Err(diagnostic("InvalidRequest", text));
    }
    within(end, found.bytes()).await.map_err(unavailable)
}

/// No longer than until the invocation ends: then Lambda says so, and the sandbox is not lost.
async fn within<T>(
    end: Instant,
    work: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    match tokio::time::timeout_at(end.into(), work).await {
        Ok(result) => result,
        Err(elapsed) => Err(object_store::Error::Generic { store: "S3", source: Box::new(elapsed) }),
    }
}

/// Worth another try, unlike a reference that is refused.
fn unavailable(error: object_store::Error) -> Diagnostic {
    let is_missing = matches!(error, object_store::Error::NotFound { .. });
    diagnostic(if is_missing { "ChunkMissing" } else { "ChunkUnavailable" }, error.to_string())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(request: &str, answer: &str) -> Vec<u8> {
        ChunkReference { request: request.to_owned(), answer: answer.to_owned() }.encode()
    }

    #[test]
    fn only_chunks_below_the_prefix_are_taken() {
        let (inside, outside) = ("s3://work/jobs/1/requests/7", "s3://work/jobs-of-others/1/requests/7");
        let chunks = Chunks::new(Some("s3://work/jobs"));
        assert!(chunks.reference(&payload(inside, inside)).unwrap().is_some());
        for (request, answer) in [(outside, inside), (inside, outside), ("s3://other/jobs/1", inside)] {
            let refused = chunks.reference(&payload(request, answer)).unwrap_err();
            assert_eq!(refused.error_type, "ChunkRefused");
            assert!(refused.error_message.contains("s3://work/jobs/"), "{}", refused.error_message);
        }
        let climbing = key("s3://work/jobs/../others/7").unwrap_err();
        assert_eq!(climbing.error_type, "ChunkRefused");
        let refused = Chunks::new(None).reference(&payload(inside, inside)).unwrap_err();
        assert!(refused.error_message.contains("PENSTOCK_CHUNKS"));
    }

    #[test]
    fn a_batch_is_no_reference() {
        let batch =
            br#"{"v":1,"batch":1,"model":"m","model_version":"1","process_count":1,"ids":[],"inputs":[]}"#;
        assert_eq!(Chunks::new(None).reference(batch).unwrap(), None);
    }
}
