//! Where answers wait until the job is done (the *spool*), and how they are put in place.
//!
//! *Exactly once.* The spool is two files that only grow: answers and errors, a line each. A commit in the store says how many bytes of them are
//! valid. After a kill they are cut to that, and lines behind it are run again.

mod publish;
mod sorted;
mod table;

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use self::publish::{publish, upload};
use crate::run::Done;
use crate::store::Checkpoint;
use crate::{BulkError, JobId};

/// The two growing files of a job. Cheap to clone: clones are the same files.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    inner: Arc<Mutex<Files>>,
}

#[derive(Debug)]
struct Files {
    output: File,
    errors: File,
    output_bytes: u64,
    error_bytes: u64,
    /// Held as long as the spool.
    _lock: File,
}

fn open(path: &Path, valid: u64) -> Result<File, BulkError> {
    let what = || format!("open `{}`", path.display());
    let mut file = open_at(path, valid)?;
    file.set_len(valid).and_then(|()| file.seek(SeekFrom::Start(valid))).map_err(BulkError::io(what()))?;
    Ok(file)
}

/// Copies the first bytes of a file into another one, and makes them durable.
fn copy_start(from: &Path, to: &Path, bytes: u64) -> std::io::Result<()> {
    let mut copy = File::create(to)?;
    std::io::copy(&mut File::open(from)?.take(bytes), &mut copy)?;
    copy.sync_all()
}

/// Opens a file that has as many bytes at least.
fn open_at(path: &Path, valid: u64) -> Result<File, BulkError> {
    let what = || format!("open `{}`", path.display());
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(BulkError::io(what()))?;
    let length = file.metadata().map_err(BulkError::io(what()))?.len();
    if length < valid {
        let text = format!(
            "`{}` has {length} bytes where {valid} were committed: it was cut, or the job began on another machine",
            path.display()
        );
        return Err(BulkError::Output { reason: text });
    }
    Ok(file)
}

/// The right to write a job's spool: one process at a time on this machine, however the one before it ended.
#[derive(Debug)]
pub(crate) struct SpoolLock {
    directory: PathBuf,
    file: File,
}

impl SpoolLock {
    /// Takes it.
    ///
    /// # Errors
    /// [`BulkError::Busy`] while another process has it.
    pub(crate) fn take(directory: &Path, id: &JobId) -> Result<Self, BulkError> {
        let directory = directory.join(id.as_str());
        std::fs::create_dir_all(&directory)
            .map_err(BulkError::io(format!("make `{}`", directory.display())))?;
        let path = directory.join("lock");
        let file = File::create(&path).map_err(BulkError::io(format!("make `{}`", path.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { directory, file }),
            Err(TryLockError::WouldBlock) => Err(BulkError::Busy { id: id.clone() }),
            Err(TryLockError::Error(error)) => {
                Err(BulkError::io(format!("lock `{}`", path.display()))(error))
            }
        }
    }

    /// Takes it from a process that holds it and is silent. What that one still has open is not what is written from now on: both files become copies
    /// of their committed part, so that nothing it may yet append is ever read.
    ///
    /// # Errors
    /// Files that are shorter than what was committed.
    pub(crate) fn seize(directory: &Path, id: &JobId, checkpoint: &Checkpoint) -> Result<Self, BulkError> {
        let directory = directory.join(id.as_str());
        let what = || format!("take `{}` over", directory.display());
        std::fs::create_dir_all(&directory).map_err(BulkError::io(what()))?;
        let fresh = directory.join("fresh");
        for (name, bytes) in [("output", checkpoint.output_bytes), ("errors", checkpoint.error_bytes)] {
            let path = directory.join(name);
            if path.exists() {
                drop(open_at(&path, bytes)?);
                copy_start(&path, &fresh, bytes).map_err(BulkError::io(what()))?;
                std::fs::rename(&fresh, &path).map_err(BulkError::io(what()))?;
            }
        }
        let lock = File::create(&fresh).map_err(BulkError::io(what()))?;
        lock.lock().map_err(BulkError::io(what()))?;
        std::fs::rename(&fresh, directory.join("lock")).map_err(BulkError::io(what()))?;
        Ok(Self { directory, file: lock })
    }

    /// Whether nobody has it: whoever ran the job has ended.
    pub(crate) fn is_free(directory: &Path, id: &JobId) -> bool {
        Self::take(directory, id).is_ok()
    }

    /// Opens the files, cut to what was committed.
    ///
    /// # Errors
    /// Files that are shorter than that.
    pub(crate) fn open(self, checkpoint: &Checkpoint) -> Result<Spool, BulkError> {
        let Self { directory, file } = self;
        let files = Files {
            output: open(&directory.join("output"), checkpoint.output_bytes)?,
            errors: open(&directory.join("errors"), checkpoint.error_bytes)?,
            output_bytes: checkpoint.output_bytes,
            error_bytes: checkpoint.error_bytes,
            _lock: file,
        };
        Ok(Spool { directory, inner: Arc::new(Mutex::new(files)) })
    }
}

impl Spool {
    /// Appends chunks and makes them durable. Gives the lengths of both files. Blocks.
    pub(crate) fn append(&self, group: &[Done]) -> Result<(u64, u64), BulkError> {
        let mut files = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let files = &mut *files;
        let write = |file: &mut File, length: &mut u64, part: fn(&Done) -> &[u8]| -> std::io::Result<()> {
            let before = *length;
            for done in group {
                file.write_all(part(done))?;
                *length += part(done).len() as u64;
            }
            if *length > before { file.sync_data() } else { Ok(()) }
        };
        write(&mut files.output, &mut files.output_bytes, |done| &done.output)
            .and_then(|()| write(&mut files.errors, &mut files.error_bytes, |done| &done.errors))
            .map_err(BulkError::io(format!("write the spool in `{}`", self.directory.display())))?;
        Ok((files.output_bytes, files.error_bytes))
    }

    /// Where the answers are.
    pub(crate) fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    /// Where the errors are.
    pub(crate) fn errors(&self) -> PathBuf {
        self.directory.join("errors")
    }

    /// A name for a file that is made while the job is put in place.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.directory.join("scratch")
    }

    /// Removes the spool of a job that is done for good.
    pub(crate) fn remove(self) {
        let removed = std::fs::remove_dir_all(&self.directory);
        if let Err(error) = removed {
            tracing::warn!(directory = %self.directory.display(), %error, "the spool of a finished job stays");
        }
    }
}
