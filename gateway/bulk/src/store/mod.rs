//! The durable state: jobs, how far each has come, and the routes' files. SQLite by default, PostgreSQL by URL, one set of statements.
//!
//! Every look-up on a caller's behalf takes the [`Owner`]: a stranger's id is not found. A runner holds an *epoch*: taking a job raises it, and
//! what a runner with an older one tries to commit is refused, so that two runners never both write. Who holds a job, and when another may take it: `lease.rs`.

mod checkpoint;
mod files;
mod jobs;
mod lease;
mod schema;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};

pub(crate) use self::checkpoint::{Checkpoint, Commit, Span, Taken, Verdict};
pub use self::files::StoredFile;
pub(crate) use self::lease::Held;
use crate::BulkError;

/// The job database. Cheap to clone: clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    is_postgres: bool,
}

/// Waits this long for a lock that another process holds, milliseconds.
const BUSY_TIMEOUT_MS: u32 = 10_000;

/// A gateway that is stopped in the middle of a transaction must not keep the others waiting for its rows.
const IDLE_LIMIT: &str = "SET idle_in_transaction_session_timeout = '10s'";

impl Store {
    /// Opens (and, for SQLite, makes) the database and brings its tables up to date.
    ///
    /// `url`: `sqlite:PATH`, or `postgres://user@host/database`.
    ///
    /// # Errors
    /// An unreachable or unusable database; one of a newer build.
    pub async fn open(url: &str) -> Result<Self, BulkError> {
        sqlx::any::install_default_drivers();
        let is_postgres = url.starts_with("postgres:") || url.starts_with("postgresql:");
        if !is_postgres && !url.starts_with("sqlite:") {
            let reason = "the database must be `sqlite:PATH` or `postgres://…`".to_owned();
            return Err(BulkError::Usage { reason });
        }
        let url = if is_postgres || url.contains('?') { url.to_owned() } else { format!("{url}?mode=rwc") };
        let options = AnyConnectOptions::from_str(&url)?;
        // With WAL, `synchronous = NORMAL` survives the death of the process, and a power cut takes whole commits back, never half of one:
        // the output is then cut to the older length, and the lines behind it are run again.
        let pragmas = format!(
            "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
        );
        let pool = AnyPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(30))
            .after_connect(move |connection, _| {
                let pragmas = pragmas.clone();
                Box::pin(async move {
                    if is_postgres {
                        sqlx::raw_sql(IDLE_LIMIT).execute(connection).await.map(drop)
                    } else {
                        prepare(connection, &pragmas).await
                    }
                })
            })
            .connect_with(options)
            .await?;
        schema::migrate(&pool, is_postgres).await?;
        Ok(Self { pool, is_postgres })
    }

    /// Opens the SQLite file `jobs.db` in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_directory(directory: &Path) -> Result<Self, BulkError> {
        std::fs::create_dir_all(directory)
            .map_err(BulkError::io(format!("make `{}`", directory.display())))?;
        Self::open(&format!("sqlite:{}", directory.join("jobs.db").display())).await
    }

    /// Whether it is PostgreSQL.
    #[must_use]
    pub const fn is_postgres(&self) -> bool {
        self.is_postgres
    }

    /// A transaction that writes. SQLite would refuse to turn one that has read into one that writes while another process writes.
    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Any>, sqlx::Error> {
        if self.is_postgres { self.pool.begin().await } else { self.pool.begin_with("BEGIN IMMEDIATE").await }
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Sets up a SQLite connection. While another process makes the file, SQLite refuses to change the journal at once, whatever the time-out.
async fn prepare(connection: &mut sqlx::AnyConnection, pragmas: &str) -> Result<(), sqlx::Error> {
    let until = tokio::time::Instant::now() + Duration::from_millis(BUSY_TIMEOUT_MS.into());
    loop {
        let set = sqlx::raw_sql(sqlx::AssertSqlSafe(pragmas.to_owned())).execute(&mut *connection).await;
        match set {
            Err(sqlx::Error::Database(error))
                if error.message().contains("locked") && tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other.map(drop),
        }
    }
}

fn corrupt(reason: impl std::fmt::Display) -> BulkError {
    BulkError::Corrupt { reason: reason.to_string() }
}

/// A count that the database keeps as a signed number.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
