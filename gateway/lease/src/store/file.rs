//! Records as files of one folder, on a disk or a file system that several hosts share and that keeps locks (NFS 4, EFS).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use super::{Found, StoreError, Tag};
use crate::Record;

#[derive(Clone, Debug)]
pub(super) struct FileStore {
    folder: PathBuf,
}

impl FileStore {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(super) async fn read(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let (store, name) = (self.clone(), name.to_owned());
        blocking(move || store.read_now(&name)).await
    }

    pub(super) async fn write(
        &self,
        name: &str,
        record: Record,
        seen: Option<Tag>,
    ) -> Result<Tag, StoreError> {
        let (store, name) = (self.clone(), name.to_owned());
        blocking(move || store.write_now(&name, &record, seen.as_ref())).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.lease"))
    }

    fn read_now(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let bytes = match fs::read(self.path(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(unavailable)?,
        };
        let foreign = |reason| StoreError::Foreign { name: name.to_owned(), reason };
        let record = Record::decode(&bytes).map_err(foreign)?;
        let tag = Tag { head: record.head.clone(), e_tag: None };
        Ok(Some(Found { record, tag }))
    }

    /// Compares and renames under a lock, so that two writers never both find what they have seen.
    fn write_now(&self, name: &str, record: &Record, seen: Option<&Tag>) -> Result<Tag, StoreError> {
        fs::create_dir_all(&self.folder).map_err(unavailable)?;
        let lock = File::create(self.folder.join(format!("{name}.lock"))).map_err(unavailable)?;
        lock.lock().map_err(unavailable)?;
        let found = self.read_now(name)?.map(|found| found.tag);
        if found.as_ref() != seen {
            return Err(StoreError::Conflict);
        }
        let beside = self.folder.join(format!("{name}.lease.new"));
        let mut file = File::create(&beside).map_err(unavailable)?;
        file.write_all(&record.encode()).and_then(|()| file.sync_all()).map_err(unavailable)?;
        fs::rename(&beside, self.path(name)).map_err(unavailable)?;
        Ok(Tag { head: record.head.clone(), e_tag: None })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn unavailable(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
}
