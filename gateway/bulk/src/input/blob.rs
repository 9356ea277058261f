//! A file to read from any offset: on this machine or in an object store. Blocking, for the reader's own thread.
//!
//! An object is read in ranges of [`RANGE_BYTES`], one after the other, so memory does not grow with its size.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;
use tokio::runtime::Handle;

use crate::{BulkError, Location};

/// Bytes asked for at a time.
const RANGE_BYTES: u64 = 8 * 1024 * 1024;
/// Buffer of local reads.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that is there.
#[derive(Clone, Debug)]
pub(crate) enum Blob {
    Local {
        path: PathBuf,
        bytes: u64,
        fingerprint: String,
    },
    Remote {
        store: Arc<dyn ObjectStore>,
        path: ObjectPath,
        url: String,
        bytes: u64,
        fingerprint: String,
        handle: Handle,
    },
}

impl Blob {
    /// Looks at a file: it must be there, and its size and version are noted.
    pub(crate) async fn open(location: &Location) -> Result<Self, BulkError> {
        match location {
            Location::Local(path) => {
                let look = std::fs::metadata(path)
                    .map_err(BulkError::io(format!("read input `{}`", path.display())))?;
                if !look.is_file() {
                    return Err(BulkError::Input {
                        location: location.to_string(),
                        reason: "is no file".to_owned(),
                    });
                }
                let modified = look.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let fingerprint = format!("{}:{}", look.len(), modified.unwrap_or_default().as_nanos());
                Ok(Self::Local { path: path.clone(), bytes: look.len(), fingerprint })
            }
            Location::S3(url) => {
                let (store, path) = gateway_objects::s3(url)?;
                let look = store.head(&path).await?;
                let version = look.e_tag.unwrap_or_else(|| look.last_modified.to_string());
                let fingerprint = format!("{}:{version}", look.size);
                Ok(Self::Remote {
                    store,
                    path,
                    url: url.clone(),
                    bytes: look.size,
                    fingerprint,
                    handle: Handle::current(),
                })
            }
        }
    }

    /// Its size.
    pub(crate) const fn bytes(&self) -> u64 {
        match self {
            Self::Local { bytes, .. } | Self::Remote { bytes, .. } => *bytes,
        }
    }

    /// Differs if the file has changed.
    pub(crate) fn fingerprint(&self) -> &str {
        match self {
            Self::Local { fingerprint, .. } | Self::Remote { fingerprint, .. } => fingerprint,
        }
    }

    /// Its name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Local { path, .. } => path.display().to_string(),
            Self::Remote { url, .. } => url.clone(),
        }
    }

    /// An error in what it holds.
    pub(crate) fn unreadable(&self, reason: impl std::fmt::Display) -> BulkError {
        BulkError::Input { location: self.name(), reason: reason.to_string() }
    }

    /// Reads on from an offset.
    pub(crate) fn reader(&self, offset: u64) -> std::io::Result<BlobReader> {
        Ok(match self {
            Self::Local { path, .. } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                BlobReader::Local(std::io::BufReader::with_capacity(BUFFER_BYTES, file))
            }
            Self::Remote { .. } => BlobReader::Remote { blob: self.clone(), offset, held: Bytes::new() },
        })
    }

    /// Rows that a Parquet file says it has.
    pub(crate) fn parquet_rows(&self) -> Result<u64, BulkError> {
        let reader = SerializedFileReader::new(self.clone()).map_err(|error| self.unreadable(error))?;
        Ok(u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0))
    }

    fn range(&self, start: u64, bytes: u64) -> std::io::Result<Bytes> {
        match self {
            Self::Local { .. } => {
                let mut data = vec![0; usize::try_from(bytes).map_err(std::io::Error::other)?];
                self.reader(start)?.read_exact(&mut data)?;
                Ok(data.into())
            }
            Self::Remote { store, path, handle, .. } => {
                handle.block_on(store.get_range(path, start..start + bytes)).map_err(std::io::Error::other)
            }
        }
    }
}

/// A reader of a [`Blob`].
#[derive(Debug)]
pub(crate) enum BlobReader {
    Local(std::io::BufReader<File>),
    Remote { blob: Blob, offset: u64, held: Bytes },
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Remote { blob, offset, held } => {
                if held.is_empty() {
                    let bytes = RANGE_BYTES.min(blob.bytes().saturating_sub(*offset));
                    if bytes == 0 {
                        return Ok(0);
                    }
                    *held = blob.range(*offset, bytes)?;
                    *offset += bytes;
                }
                let count = buffer.len().min(held.len());
                buffer[..count].copy_from_slice(&held.split_to(count));
                Ok(count)
            }
        }
    }
}

impl Length for Blob {
    fn len(&self) -> u64 {
        self.bytes()
    }
}

impl ChunkReader for Blob {
    type T = BlobReader;

    fn get_read(&self, start: u64) -> Result<BlobReader, ParquetError> {
        self.reader(start).map_err(|error| ParquetError::External(Box::new(error)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.range(start, length as u64).map_err(|error| ParquetError::External(Box::new(error)))
    }
}
