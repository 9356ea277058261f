//! Puts output and error file in place, once all lines have an outcome. Can be done again from the start at any moment: nothing of the spool is
//! changed before all is in place, and what stands at the destination is replaced whole.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::runtime::Handle;
use workers_protocol::ModelManifest;

use super::{Spool, sorted, table};
use crate::{BulkError, DataFormat, JobSpec, Location};

/// Bytes of a part of an upload.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts under way at a time.
const PARTS: usize = 4;

/// Puts both files in place. Blocks; call it where a runtime is at hand.
///
/// # Errors
/// [`BulkError::Usage`] without a manifest for a format that needs one; anything of files and stores.
pub(crate) fn publish(
    spool: &Spool,
    spec: &JobSpec,
    manifest: Option<&ModelManifest>,
) -> Result<(), BulkError> {
    let mut ready = spool.output();
    if spec.output.is_sorted {
        let path = spool.scratch().with_extension("sorted");
        sorted::sort(&ready, &path)?;
        ready = path;
    }
    if spec.output.format != DataFormat::Jsonl {
        let path = spool.scratch().with_extension("table");
        let is_plain = !spec.input.columns.is_empty();
        let manifest = manifest.ok_or_else(|| BulkError::Usage {
            reason: "a table is written by the job's own command: run it once more, and it ends the job"
                .to_owned(),
        })?;
        match spec.output.format {
            DataFormat::Csv => table::write_csv(&ready, &path, manifest, is_plain)?,
            DataFormat::Parquet | DataFormat::Jsonl => {
                table::write_parquet(&ready, &path, manifest, is_plain)?;
            }
        }
        ready = path;
    }
    place(&ready, &spec.output.location)?;
    place(&spool.errors(), &spec.errors)
}

fn place(from: &Path, to: &Location) -> Result<(), BulkError> {
    match to {
        Location::Local(path) => place_local(from, path),
        Location::S3(url) => {
            let (store, key) = gateway_objects::s3(url)?;
            Handle::current().block_on(upload(from, &*store, &key))
        }
    }
}

/// A copy under another name, made durable, then renamed: whoever looks sees the old file or the whole new one.
fn place_local(from: &Path, to: &Path) -> Result<(), BulkError> {
    let what = || format!("write `{}`", to.display());
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial: PathBuf = to.with_file_name(name);
    let copied = (|| {
        if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        if std::fs::hard_link(from, &partial).is_err() {
            let _stale = std::fs::remove_file(&partial);
            if std::fs::hard_link(from, &partial).is_err() {
                std::fs::copy(from, &partial)?;
                File::open(&partial)?.sync_all()?;
            }
        }
        std::fs::rename(&partial, to)?;
        // Renaming one name of a file to another of its names changes nothing: after a second time the first is still there.
        let _mostly_gone = std::fs::remove_file(&partial);
        Ok(())
    })();
    copied.map_err(BulkError::io(what()))
}

/// Writes a file as an object, in parts if it is large.
pub(crate) async fn upload(from: &Path, store: &dyn ObjectStore, key: &Key) -> Result<(), BulkError> {
    let what = || format!("read `{}`", from.display());
    let mut file = File::open(from).map_err(BulkError::io(what()))?;
    let length = file.metadata().map_err(BulkError::io(what()))?.len();
    if length <= PART_BYTES as u64 {
        let mut data = Vec::new();
        file.read_to_end(&mut data).map_err(BulkError::io(what()))?;
        store.put(key, data.into()).await?;
        return Ok(());
    }
    let mut parts = WriteMultipart::new_with_chunk_size(store.put_multipart(key).await?, PART_BYTES);
    let mut buffer = vec![0; PART_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(BulkError::io(what()))?;
        if read == 0 {
            break;
        }
        parts.wait_for_capacity(PARTS).await?;
        parts.write(&buffer[..read]);
    }
    parts.finish().await?;
    Ok(())
}
