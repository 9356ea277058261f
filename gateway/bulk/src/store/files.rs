//! Files that callers uploaded or that jobs made for them: names and places only, the bytes lie in a folder.

use std::path::PathBuf;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, corrupt, signed, unsigned};
use crate::{BulkError, FileId, Owner, UnixMillis};

/// A file as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name for the API.
    pub id: FileId,
    /// Who may see it.
    pub owner: Owner,
    /// `batch` or `batch_output`.
    pub purpose: String,
    /// The caller's name of it.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it is to be removed.
    pub expires_at: Option<UnixMillis>,
    /// Where its bytes are.
    pub path: PathBuf,
}

impl Store {
    /// Writes a new file's row, or replaces one of the same id.
    ///
    /// # Errors
    /// The database; a path that is not UTF-8.
    pub async fn put_file(&self, file: &StoredFile) -> Result<(), BulkError> {
        let path = file
            .path
            .to_str()
            .ok_or_else(|| BulkError::Usage { reason: format!("`{}` is not UTF-8", file.path.display()) })?;
        sqlx::query(
            "INSERT INTO bulk_files (id, owner, purpose, name, bytes, created_at, expires_at, path)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, expires_at = excluded.expires_at, path = excluded.path",
        )
        .bind(file.id.as_str())
        .bind(file.owner.0.as_str())
        .bind(file.purpose.as_str())
        .bind(file.name.as_str())
        .bind(signed(file.bytes))
        .bind(file.created_at)
        .bind(file.expires_at)
        .bind(path)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// One file of this owner.
    ///
    /// # Errors
    /// [`BulkError::NotFound`], also for another owner's.
    pub async fn file(&self, owner: &Owner, id: &FileId) -> Result<StoredFile, BulkError> {
        let row = sqlx::query("SELECT * FROM bulk_files WHERE id = $1 AND owner = $2")
            .bind(id.as_str())
            .bind(owner.0.as_str())
            .fetch_optional(&self.pool)
            .await?;
        read_file(&row.ok_or_else(|| BulkError::NotFound { id: id.to_string() })?)
    }

    /// This owner's files, newest first, at most `limit` (and never more than 10,000), of one purpose and behind `after` if given.
    ///
    /// # Errors
    /// [`BulkError::NotFound`] if `after` is no file of this owner.
    pub async fn files(
        &self,
        owner: &Owner,
        purpose: Option<&str>,
        after: Option<&FileId>,
        limit: u32,
    ) -> Result<Vec<StoredFile>, BulkError> {
        let (created_at, id) = match after {
            Some(id) => (self.file(owner, id).await?.created_at, id.as_str()),
            None => (UnixMillis::MAX, ""),
        };
        let rows = sqlx::query(
            "SELECT * FROM bulk_files WHERE owner = $1 AND (created_at < $2 OR (created_at = $2 AND id < $3))
             AND ($4 = '' OR purpose = $4) ORDER BY created_at DESC, id DESC LIMIT $5",
        )
        .bind(owner.0.as_str())
        .bind(created_at)
        .bind(id)
        .bind(purpose.unwrap_or_default())
        .bind(i64::from(limit.min(10_000)))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_file).collect()
    }

    /// Every owner's files whose time is over.
    ///
    /// # Errors
    /// The database.
    pub async fn expired_files(&self, now: UnixMillis) -> Result<Vec<StoredFile>, BulkError> {
        let rows = sqlx::query("SELECT * FROM bulk_files WHERE expires_at <= $1 ORDER BY id")
            .bind(now)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read_file).collect()
    }

    /// Removes a file's row and gives it; its bytes are the caller's to remove.
    ///
    /// # Errors
    /// [`BulkError::NotFound`], also for another owner's.
    pub async fn delete_file(&self, owner: &Owner, id: &FileId) -> Result<StoredFile, BulkError> {
        let file = self.file(owner, id).await?;
        sqlx::query("DELETE FROM bulk_files WHERE id = $1 AND owner = $2")
            .bind(id.as_str())
            .bind(owner.0.as_str())
            .execute(&self.pool)
            .await?;
        Ok(file)
    }
}

fn read_file(row: &AnyRow) -> Result<StoredFile, BulkError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let id = text("id")?;
    Ok(StoredFile {
        id: FileId::parse(&id).ok_or_else(|| corrupt(format_args!("`{id}` is no file id")))?,
        owner: Owner(text("owner")?),
        purpose: text("purpose")?,
        name: text("name")?,
        bytes: unsigned(row.try_get("bytes")?),
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        path: PathBuf::from(text("path")?),
    })
}
