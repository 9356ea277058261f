//! A job's folder in S3: its chunks, ready to be sent, and their answers, for an engine that runs elsewhere.
//!
//! ```text
//! WORK/JOB/manifest.json                     one entry a chunk: where it lies and where its answer belongs
//! WORK/JOB/requests/FIRST_LINE-LINES.json    what the worker takes, byte for byte
//! WORK/JOB/answers/FIRST_LINE-LINES.json     what the worker gives, byte for byte
//! WORK/JOB/results/                          the engine's own list of what became of each chunk; nobody reads it here
//! ```
//! A chunk is named by its lines, so that whoever cuts the same input by the same bounds finds its answer.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::store::Span;
use crate::{BulkError, JobId};

/// A folder of one job. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// What stands before a key in a URL: `s3://bucket/`.
    root: String,
}

impl Folder {
    /// Below `work`, an `s3://bucket/prefix` or, for tests, a `file://` URL. Nothing is read.
    pub(crate) fn open(work: &str, id: &JobId) -> Result<Self, BulkError> {
        let place = gateway_objects::Location::open(work)?;
        let root = work.trim_end_matches('/').trim_end_matches(place.path.as_ref()).to_owned();
        Ok(Self { store: place.store, path: place.path.join(id.as_str()), root })
    }

    pub(crate) fn bucket(&self) -> &str {
        self.root.trim_start_matches("s3://").trim_end_matches('/')
    }

    /// Key of the manifest.
    pub(crate) fn manifest(&self) -> Path {
        self.path.clone().join("manifest.json")
    }

    /// Prefix of the engine's own results.
    pub(crate) fn results(&self) -> Path {
        self.path.clone().join("results")
    }

    fn of_chunk(&self, kind: &str, span: &Span) -> Path {
        self.path.clone().join(kind).join(format!("{}-{}.json", span.first_line, span.lines))
    }

    fn url(&self, path: &Path) -> String {
        format!("{}{path}", self.root)
    }

    /// The manifest's entry of a chunk.
    pub(crate) fn entry(&self, span: &Span) -> serde_json::Value {
        serde_json::json!({
            "request": self.url(&self.of_chunk("requests", span)),
            "answer": self.url(&self.of_chunk("answers", span)),
        })
    }

    pub(crate) async fn put_request(&self, span: &Span, payload: Vec<u8>) -> Result<(), BulkError> {
        self.store.put(&self.of_chunk("requests", span), payload.into()).await?;
        Ok(())
    }

    pub(crate) async fn put_manifest(&self, from: &FilePath) -> Result<(), BulkError> {
        crate::output::upload(from, &*self.store, &self.manifest()).await
    }

    /// The answer of a chunk, if there is one.
    pub(crate) async fn answer(&self, span: &Span) -> Result<Option<Bytes>, BulkError> {
        match self.store.get(&self.of_chunk("answers", span)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes all of it.
    pub(crate) async fn remove(&self) -> Result<(), BulkError> {
        let listed = self.store.list(Some(&self.path)).map_ok(|found| found.location).boxed();
        let mut removed = self.store.delete_stream(listed);
        while let Some(path) = removed.next().await {
            path?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_named_by_their_lines_below_the_jobs_folder() {
        let id = JobId::parse(&format!("batch_{}", "a".repeat(32))).unwrap();
        let folder = Folder::open("file:///tmp/work/jobs/", &id).unwrap();
        let entry = folder.entry(&Span { first_line: 20, lines: 10, start: 0, end: 0 });
        assert_eq!(entry["request"], format!("file:///tmp/work/jobs/{id}/requests/20-10.json"));
        assert_eq!(entry["answer"], format!("file:///tmp/work/jobs/{id}/answers/20-10.json"));
        assert_eq!(folder.results().to_string(), format!("tmp/work/jobs/{id}/results"));
    }
}
