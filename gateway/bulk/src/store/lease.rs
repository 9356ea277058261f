//! Which gateway runs a job. The row is the lease's record: `epoch`, `beat` and `holder`, as `gateway-lease` has them.
//!
//! Gateways that share a database and a folder each look at all jobs that have not ended. One without a holder, or whose holder has been silent for a
//! whole lease by the watcher's own clock, is free. Commits are fenced by the epoch, so an old holder that wakes up writes nothing more.

use gateway_lease::Head;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::jobs::read_job;
use super::{Store, signed, unsigned};
use crate::{BulkError, Job, JobId};

/// A job that has not ended, and who runs it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) job: Job,
    pub(crate) head: Head,
}

impl Store {
    /// Every owner's jobs that are not final, oldest first, with their holders.
    pub(crate) async fn held(&self) -> Result<Vec<Held>, BulkError> {
        let rows = sqlx::query(
            "SELECT * FROM bulk_jobs WHERE state NOT IN ('failed', 'completed', 'expired', 'cancelled')
             ORDER BY created_at, id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_held).collect()
    }

    /// Says that this gateway is alive, for all jobs that it holds.
    pub(crate) async fn beat(&self, holder: &str) -> Result<(), BulkError> {
        sqlx::query("UPDATE bulk_jobs SET beat = beat + 1 WHERE holder = $1")
            .bind(holder)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes a job away from a holder that has been silent: only if it is silent still, and nobody else was faster.
    pub(crate) async fn seize(&self, id: &JobId, seen: &Head, holder: &str) -> Result<(), BulkError> {
        let updated = sqlx::query(
            "UPDATE bulk_jobs SET epoch = epoch + 1, beat = 0, holder = $1 WHERE id = $2 AND epoch = $3 AND beat = $4",
        )
        .bind(holder)
        .bind(id.as_str())
        .bind(signed(seen.epoch))
        .bind(signed(seen.beat))
        .execute(&self.pool)
        .await?;
        if updated.rows_affected() == 0 { Err(BulkError::Busy { id: id.clone() }) } else { Ok(()) }
    }

    /// Writes down who runs a job that was taken.
    pub(crate) async fn hold(&self, id: &JobId, epoch: i64, holder: &str) -> Result<(), BulkError> {
        sqlx::query("UPDATE bulk_jobs SET holder = $1, beat = beat + 1 WHERE id = $2 AND epoch = $3")
            .bind(holder)
            .bind(id.as_str())
            .bind(epoch)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Lets others run a job that this gateway holds and runs no more.
    pub(crate) async fn release(&self, id: &JobId, holder: &str) -> Result<(), BulkError> {
        sqlx::query("UPDATE bulk_jobs SET holder = NULL, beat = beat + 1 WHERE id = $1 AND holder = $2")
            .bind(id.as_str())
            .bind(holder)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn read_held(row: &AnyRow) -> Result<Held, BulkError> {
    let head = Head {
        epoch: unsigned(row.try_get("epoch")?),
        beat: unsigned(row.try_get("beat")?),
        holder: row.try_get("holder")?,
    };
    Ok(Held { job: read_job(row)?, head })
}
