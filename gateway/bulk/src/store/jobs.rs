//! Jobs as callers see them: create, look up, list, cancel.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, corrupt, unsigned};
use crate::{BulkError, Job, JobCost, JobCounts, JobId, JobSpec, JobState, Owner, UnixMillis, unix_millis};

/// Jobs that one page of a list holds at most.
const MAX_PAGE: u32 = 1000;

impl Store {
    /// Writes a new job, to be run by whoever calls [`crate::run`].
    ///
    /// # Errors
    /// The database.
    pub async fn create_job(&self, owner: &Owner, spec: &JobSpec) -> Result<Job, BulkError> {
        let id = JobId::random()?;
        let now = unix_millis();
        let reached = BTreeMap::from([(JobState::Validating, now)]);
        sqlx::query(
            "INSERT INTO bulk_jobs (id, owner, spec, state, created_at, reached) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.as_str())
        .bind(owner.0.as_str())
        .bind(to_json(spec)?)
        .bind(JobState::Validating.name())
        .bind(now)
        .bind(to_json(&reached)?)
        .execute(&self.pool)
        .await?;
        Ok(Job {
            id,
            owner: owner.clone(),
            spec: spec.clone(),
            state: JobState::Validating,
            created_at: now,
            reached,
            counts: JobCounts::default(),
            cost: JobCost::default(),
            failure: None,
            active: Duration::ZERO,
        })
    }

    /// One job of this owner.
    ///
    /// # Errors
    /// [`BulkError::NotFound`], also for another owner's.
    pub async fn job(&self, owner: &Owner, id: &JobId) -> Result<Job, BulkError> {
        let row = sqlx::query("SELECT * FROM bulk_jobs WHERE id = $1 AND owner = $2")
            .bind(id.as_str())
            .bind(owner.0.as_str())
            .fetch_optional(&self.pool)
            .await?;
        read_job(&row.ok_or_else(|| BulkError::NotFound { id: id.to_string() })?)
    }

    /// This owner's jobs, newest first, at most `limit` (and never more than 1,000), those behind `after` if given.
    ///
    /// # Errors
    /// [`BulkError::NotFound`] if `after` is no job of this owner.
    pub async fn jobs(
        &self,
        owner: &Owner,
        after: Option<&JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, BulkError> {
        let (created_at, id) = match after {
            Some(id) => (self.job(owner, id).await?.created_at, id.as_str()),
            None => (UnixMillis::MAX, ""),
        };
        let rows = sqlx::query(
            "SELECT * FROM bulk_jobs WHERE owner = $1 AND (created_at < $2 OR (created_at = $2 AND id < $3))
             ORDER BY created_at DESC, id DESC LIMIT $4",
        )
        .bind(owner.0.as_str())
        .bind(created_at)
        .bind(id)
        .bind(i64::from(limit.min(MAX_PAGE)))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_job).collect()
    }

    /// Every owner's jobs, those that are not final first, then the newest; at most `limit` (and never more than 1,000).
    ///
    /// # Errors
    /// The database.
    pub async fn newest(&self, limit: u32) -> Result<Vec<Job>, BulkError> {
        let rows = sqlx::query(
            "SELECT * FROM bulk_jobs
             ORDER BY CASE WHEN state IN ('failed', 'completed', 'expired', 'cancelled') THEN 1 ELSE 0 END, created_at DESC, id DESC
             LIMIT $1",
        )
        .bind(i64::from(limit.min(MAX_PAGE)))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_job).collect()
    }

    /// Every owner's jobs that are not final, oldest first: for whoever runs them after a restart.
    ///
    /// # Errors
    /// The database.
    pub async fn unfinished(&self) -> Result<Vec<Job>, BulkError> {
        let rows = sqlx::query(
            "SELECT * FROM bulk_jobs WHERE state NOT IN ('failed', 'completed', 'expired', 'cancelled')
             ORDER BY created_at, id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_job).collect()
    }

    /// Asks for a job to be cancelled. Its runner sees it within one batch; if it has none, the next call of [`crate::run`] ends it. A job that is
    /// final, or being finalized, stays as it is.
    ///
    /// # Errors
    /// [`BulkError::NotFound`].
    pub async fn cancel(&self, owner: &Owner, id: &JobId) -> Result<Job, BulkError> {
        let job = self.job(owner, id).await?;
        let mut reached = job.reached;
        reached.insert(JobState::Cancelling, unix_millis());
        sqlx::query(
            "UPDATE bulk_jobs SET state = 'cancelling', reached = $1
             WHERE id = $2 AND state IN ('validating', 'in_progress')",
        )
        .bind(to_json(&reached)?)
        .bind(id.as_str())
        .execute(&self.pool)
        .await?;
        self.job(owner, id).await
    }

    /// Gives a job other dollars to spend, and another time to end in, for its next run. The time is a wish: it counts while the plan is
    /// still to be chosen.
    ///
    /// # Errors
    /// [`BulkError::NotFound`].
    pub async fn set_wish(
        &self,
        owner: &Owner,
        id: &JobId,
        finish_within: Option<Duration>,
        max_usd: Option<f64>,
    ) -> Result<Job, BulkError> {
        let job = self.job(owner, id).await?;
        let spec = JobSpec { max_usd, finish_within, ..job.spec };
        sqlx::query("UPDATE bulk_jobs SET spec = $1 WHERE id = $2")
            .bind(to_json(&spec)?)
            .bind(id.as_str())
            .execute(&self.pool)
            .await?;
        self.job(owner, id).await
    }

    /// Removes a job that is final. Its output stays where it is.
    ///
    /// # Errors
    /// [`BulkError::NotFound`], [`BulkError::WrongState`].
    pub async fn delete_job(&self, owner: &Owner, id: &JobId) -> Result<(), BulkError> {
        let job = self.job(owner, id).await?;
        if !job.state.is_final() {
            return Err(BulkError::WrongState { id: id.clone(), state: job.state });
        }
        for statement in ["DELETE FROM bulk_spans WHERE job = $1", "DELETE FROM bulk_jobs WHERE id = $1"] {
            sqlx::query(statement).bind(id.as_str()).execute(&self.pool).await?;
        }
        Ok(())
    }
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, BulkError> {
    serde_json::to_string(value).map_err(corrupt)
}

pub(super) fn read_job(row: &AnyRow) -> Result<Job, BulkError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let count = |column: &str| row.try_get::<i64, _>(column).map(unsigned);
    let id = text("id")?;
    let state = text("state")?;
    let failure: Option<String> = row.try_get("failure")?;
    Ok(Job {
        id: JobId::parse(&id).ok_or_else(|| corrupt(format_args!("`{id}` is no job id")))?,
        owner: Owner(text("owner")?),
        spec: serde_json::from_str(&text("spec")?).map_err(corrupt)?,
        state: JobState::from_name(&state).ok_or_else(|| corrupt(format_args!("`{state}` is no state")))?,
        created_at: row.try_get("created_at")?,
        reached: serde_json::from_str(&text("reached")?).map_err(corrupt)?,
        counts: JobCounts {
            total: count("total")?,
            completed: count("completed")?,
            failed: count("failed")?,
            items: count("items")?,
            unknown_outcomes: count("unknown_outcomes")?,
        },
        cost: JobCost {
            usd: row.try_get("usd")?,
            billed_ms: count("billed_ms")?,
            gb_seconds: row.try_get("gb_seconds")?,
            invocations: count("invocations")?,
            cold_starts: count("cold_starts")?,
            is_estimate: count("cost_is_estimate")? > 0,
        },
        failure: failure.map(|text| serde_json::from_str(&text).map_err(corrupt)).transpose()?,
        active: Duration::from_millis(count("active_ms")?),
    })
}
