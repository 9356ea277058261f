//! Where records lie. A write replaces exactly the record that its writer has seen, or nothing: by `If-Match` in S3, under a lock and a comparison in a
//! file, by a `WHERE` in PostgreSQL.

mod file;
mod object;
mod postgres;

use std::time::Duration;

use gateway_objects::{Location, LocationError};

use self::file::FileStore;
use self::object::ObjectStore;
use self::postgres::PostgresStore;
use crate::{Head, Record};

/// A store that answers later than this has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a record was when it was read or written: the condition of the next write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    head: Head,
    /// Of an object.
    e_tag: Option<String>,
}

/// A record and its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub record: Record,
    /// For the next write.
    pub tag: Tag,
}

/// Why a record was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The record is not the one that the writer has seen: somebody else has written. Nothing was changed.
    #[error("somebody else has written the record meanwhile")]
    Conflict,
    /// The store cannot be reached, or refuses. A write may have happened.
    #[error("{0}")]
    Unavailable(String),
    /// What lies there is not a record.
    #[error("`{name}` is not a lease: {reason}")]
    Foreign {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL.
    #[error(transparent)]
    Location(#[from] LocationError),
}

/// A store of records. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Kind);

#[derive(Clone, Debug)]
enum Kind {
    File(FileStore),
    Object(ObjectStore),
    Postgres(PostgresStore),
}

impl Store {
    /// `s3://bucket/prefix` (region, credentials and endpoint from the environment), `file:///folder`, or `postgres://user@host/database`. Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// A URL that is none of these.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Ok(Self(Kind::Postgres(PostgresStore::open(url)?)));
        }
        let location = Location::open(url)?;
        Ok(Self(match &location.file {
            Some(folder) => Kind::File(FileStore::new(folder.clone())),
            None => Kind::Object(ObjectStore::new(location)),
        }))
    }

    /// Whether a URL is one of those that [`Self::open`] knows; needs no runtime.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(url: &str) -> Result<(), StoreError> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return PostgresStore::check(url);
        }
        Location::open(url).map(drop).map_err(StoreError::from)
    }

    /// The record of this name; `None`: there is none yet.
    ///
    /// # Errors
    /// The store cannot be reached, or has something else there.
    pub async fn read(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let read = async {
            match &self.0 {
                Kind::File(store) => store.read(name).await,
                Kind::Object(store) => store.read(name).await,
                Kind::Postgres(store) => store.read(name).await,
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(late()))
    }

    /// Writes a record in the place of the one that was `seen`, or where there is none.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], without any change; or the store cannot be reached, and the record may have been written.
    pub async fn write(&self, name: &str, record: Record, seen: Option<Tag>) -> Result<Tag, StoreError> {
        let write = async {
            match &self.0 {
                Kind::File(store) => store.write(name, record, seen).await,
                Kind::Object(store) => store.write(name, record, seen).await,
                Kind::Postgres(store) => store.write(name, record, seen).await,
            }
        };
        tokio::time::timeout(PATIENCE, write).await.unwrap_or_else(|_| Err(late()))
    }
}

fn late() -> StoreError {
    StoreError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))
}
