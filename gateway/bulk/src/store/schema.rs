//! The tables, by version. A step is never changed once it has shipped: a new one is added.
//!
//! The statements are those that SQLite and PostgreSQL both understand.

use sqlx::{AnyPool, Row};

use crate::BulkError;

/// Steps from version to version; the first makes version 1.
const STEPS: &[&[&str]] = &[
    &[
        "CREATE TABLE bulk_jobs (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        spec TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        reached TEXT NOT NULL,
        total BIGINT NOT NULL DEFAULT 0,
        completed BIGINT NOT NULL DEFAULT 0,
        failed BIGINT NOT NULL DEFAULT 0,
        items BIGINT NOT NULL DEFAULT 0,
        unknown_outcomes BIGINT NOT NULL DEFAULT 0,
        usd DOUBLE PRECISION NOT NULL DEFAULT 0,
        billed_ms BIGINT NOT NULL DEFAULT 0,
        gb_seconds DOUBLE PRECISION NOT NULL DEFAULT 0,
        invocations BIGINT NOT NULL DEFAULT 0,
        cold_starts BIGINT NOT NULL DEFAULT 0,
        cost_is_estimate BIGINT NOT NULL DEFAULT 0,
        failure TEXT,
        active_ms BIGINT NOT NULL DEFAULT 0,
        epoch BIGINT NOT NULL DEFAULT 0,
        fingerprint TEXT,
        done_lines BIGINT NOT NULL DEFAULT 0,
        done_position BIGINT NOT NULL DEFAULT 0,
        output_bytes BIGINT NOT NULL DEFAULT 0,
        error_bytes BIGINT NOT NULL DEFAULT 0,
        verdict TEXT
    )",
        "CREATE INDEX bulk_jobs_by_owner ON bulk_jobs (owner, created_at, id)",
        "CREATE TABLE bulk_spans (
        job TEXT NOT NULL,
        first_line BIGINT NOT NULL,
        lines BIGINT NOT NULL,
        start_position BIGINT NOT NULL,
        end_position BIGINT NOT NULL,
        PRIMARY KEY (job, first_line)
    )",
        "CREATE TABLE bulk_files (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        purpose TEXT NOT NULL,
        name TEXT NOT NULL,
        bytes BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT,
        path TEXT NOT NULL
    )",
        "CREATE INDEX bulk_files_by_owner ON bulk_files (owner, created_at, id)",
    ],
    &[
        "ALTER TABLE bulk_jobs ADD COLUMN holder TEXT",
        "ALTER TABLE bulk_jobs ADD COLUMN beat BIGINT NOT NULL DEFAULT 0",
    ],
];

/// Brings the tables up to this build's version. Harmless if they are; safe against another process that does the same.
pub(super) async fn migrate(pool: &AnyPool, is_postgres: bool) -> Result<(), BulkError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let mut connection = pool.acquire().await?;
    // One process at a time: SQLite locks the file at BEGIN IMMEDIATE, PostgreSQL has advisory locks.
    let begin = if is_postgres { "BEGIN" } else { "BEGIN IMMEDIATE" };
    sqlx::raw_sql(begin).execute(&mut *connection).await?;
    let stepped = steps(&mut connection, is_postgres, known).await;
    let end = if stepped.is_ok() { "COMMIT" } else { "ROLLBACK" };
    sqlx::raw_sql(end).execute(&mut *connection).await?;
    stepped
}

/// Any number that no one else uses.
const ADVISORY_LOCK: &str = "SELECT pg_advisory_xact_lock(7305804402567)";

async fn steps(connection: &mut sqlx::AnyConnection, is_postgres: bool, known: i64) -> Result<(), BulkError> {
    if is_postgres {
        sqlx::raw_sql(ADVISORY_LOCK).execute(&mut *connection).await?;
    }
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS bulk_schema (version BIGINT NOT NULL)")
        .execute(&mut *connection)
        .await?;
    let found: i64 = sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM bulk_schema")
        .fetch_one(&mut *connection)
        .await?
        .try_get("version")?;
    if found > known {
        return Err(BulkError::NewerSchema { found, known });
    }
    for step in &STEPS[usize::try_from(found).unwrap_or(0)..] {
        for statement in *step {
            sqlx::raw_sql(*statement).execute(&mut *connection).await?;
        }
    }
    if found < known {
        sqlx::query("INSERT INTO bulk_schema (version) VALUES ($1)")
            .bind(known)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
