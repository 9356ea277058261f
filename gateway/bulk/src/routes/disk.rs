//! The folder of the files: `files/ID` for what is whole, `uploads/ID` for what is being sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::{BulkError, FileId, Location};

/// Where a file of this id lies.
pub(super) fn path_of(directory: &Path, id: &FileId) -> PathBuf {
    directory.join("files").join(id.as_str())
}

/// The id of a file that lies where [`path_of`] says.
pub(super) fn id_of(location: &Location) -> Option<FileId> {
    match location {
        Location::Local(path) => FileId::parse(path.file_name()?.to_str()?),
        Location::S3(_) => None,
    }
}

/// An upload that has been silent for so long was cut off: its own process gives it up much sooner.
const CUT_OFF: Duration = Duration::from_secs(600);

/// Makes the folders, and removes uploads that were cut off, of whichever process.
pub(super) fn prepare(directory: &Path) -> Result<(), BulkError> {
    for name in ["files", "uploads"] {
        let folder = directory.join(name);
        std::fs::create_dir_all(&folder).map_err(BulkError::io(format!("make `{}`", folder.display())))?;
    }
    let uploads = directory.join("uploads");
    let entries =
        std::fs::read_dir(&uploads).map_err(BulkError::io(format!("read `{}`", uploads.display())))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let silent = entry.metadata().and_then(|it| it.modified()).ok().and_then(|at| at.elapsed().ok());
        if silent.is_none_or(|silent| silent < CUT_OFF) {
            continue; // another gateway of this folder may be receiving it
        }
        std::fs::remove_file(&path).map_err(BulkError::io(format!("remove `{}`", path.display())))?;
    }
    Ok(())
}

/// Bytes of all files. Blocks.
pub(super) fn stored_bytes(directory: &Path) -> u64 {
    let sizes =
        ["files", "uploads"].into_iter().filter_map(|name| std::fs::read_dir(directory.join(name)).ok());
    sizes.flatten().flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// A file that is being sent. Dropped before [`Upload::finish`], it is removed: the client left, or sent too much.
pub(super) struct Upload {
    path: PathBuf,
    file: Option<File>,
    pub(super) bytes: u64,
}

impl Upload {
    pub(super) async fn begin(directory: &Path, id: &FileId) -> std::io::Result<Self> {
        let path = directory.join("uploads").join(id.as_str());
        let file = File::create_new(&path).await?;
        Ok(Self { path, file: Some(file), bytes: 0 })
    }

    pub(super) async fn write(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(chunk).await?;
            self.bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Puts the file in its place: on the disk first, then under its name.
    pub(super) async fn finish(mut self, to: &Path) -> std::io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.flush().await?;
            file.sync_all().await?;
        }
        tokio::fs::rename(&self.path, to).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After `finish` nothing is there any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upload_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path()).unwrap();
        let (kept, dropped) = (FileId::random().unwrap(), FileId::random().unwrap());
        let mut upload = Upload::begin(folder.path(), &dropped).await.unwrap();
        upload.write(b"abc").await.unwrap();
        drop(upload);
        let mut upload = Upload::begin(folder.path(), &kept).await.unwrap();
        upload.write(b"abcd").await.unwrap();
        let place = path_of(folder.path(), &kept);
        upload.finish(&place).await.unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"abcd");
        assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
        assert_eq!(stored_bytes(folder.path()), 4);
        assert_eq!(id_of(&Location::Local(place)), Some(kept));
    }

    #[test]
    fn what_a_killed_process_was_sent_is_removed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path()).unwrap();
        let path = folder.path().join("uploads/file-x");
        std::fs::write(&path, "half").unwrap();
        prepare(folder.path()).unwrap();
        assert_eq!(stored_bytes(folder.path()), 4, "another process may be receiving it");
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - CUT_OFF - Duration::from_secs(1)).unwrap();
        prepare(folder.path()).unwrap();
        assert_eq!(stored_bytes(folder.path()), 0);
    }
}
