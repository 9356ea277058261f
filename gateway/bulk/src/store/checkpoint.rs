//! How far a job has come, as its runner writes it.
//!
//! *Problem.* Chunks end in any order; after `kill -9` each line must be in the output once.
//! *Rule.* A commit says in one transaction: these lines are done, and the output and error file are valid up to these lengths. Lines are kept
//! as a watermark (all lines before it are done) and the few spans beyond it, so the state is as large as the parallelism, not as the input.
//! On resume the files are cut to their committed lengths and the gaps between the spans are run again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::jobs::{read_job, to_json};
use super::{Store, corrupt, signed, unsigned};
use crate::{BulkError, Job, JobCost, JobCounts, JobFailure, JobId, JobSpec, JobState, unix_millis};

/// Consecutive lines of the input: `lines` of them from line `first_line` (from 0), which lie from `start` to `end` in its positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) first_line: u64,
    pub(crate) lines: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Span {
    /// Line behind the last.
    pub(crate) const fn next_line(&self) -> u64 {
        self.first_line + self.lines
    }
}

/// How far a job has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Lines of the input that are all done, counted from its beginning.
    pub(crate) done_lines: u64,
    /// Position of the line behind them.
    pub(crate) done_position: u64,
    /// Done spans beyond, by their first line; not touching each other or the watermark.
    pub(crate) spans: BTreeMap<u64, Span>,
    /// Valid bytes of the output.
    pub(crate) output_bytes: u64,
    /// Valid bytes of the error file.
    pub(crate) error_bytes: u64,
}

impl Checkpoint {
    /// Adds a span that is done.
    pub(crate) fn add(&mut self, mut span: Span) {
        if let Some((&key, before)) = self.spans.range(..span.first_line).next_back()
            && before.next_line() == span.first_line
        {
            span = Span {
                first_line: before.first_line,
                lines: before.lines + span.lines,
                start: before.start,
                end: span.end,
            };
            self.spans.remove(&key);
        }
        if let Some(after) = self.spans.remove(&span.next_line()) {
            span = Span { lines: span.lines + after.lines, end: after.end, ..span };
        }
        if span.first_line == self.done_lines {
            self.done_lines = span.next_line();
            self.done_position = span.end;
        } else {
            self.spans.insert(span.first_line, span);
        }
    }
}

/// What one commit says.
#[derive(Clone, Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) counts: JobCounts,
    pub(crate) cost: JobCost,
    pub(crate) active: Duration,
}

/// Why no more lines are to be invoked; survives a restart, so that a job that expired is not begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All lines have an outcome.
    Completed,
    /// Time is up.
    Expired,
    /// The caller wants it no more.
    Cancelled,
}

impl Verdict {
    pub(crate) const fn state(self) -> JobState {
        match self {
            Self::Completed => JobState::Completed,
            Self::Expired => JobState::Expired,
            Self::Cancelled => JobState::Cancelled,
        }
    }
}

/// A job taken by a runner.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) job: Job,
    pub(crate) epoch: i64,
    pub(crate) checkpoint: Checkpoint,
    /// What identifies the input, if it was read before.
    pub(crate) fingerprint: Option<String>,
    /// If the job was being finalized: as what.
    pub(crate) verdict: Option<Verdict>,
}

impl Store {
    /// Takes a job for this runner: any other runner's commits are refused from now on.
    pub(crate) async fn take(&self, id: &JobId) -> Result<Taken, BulkError> {
        let updated = sqlx::query("UPDATE bulk_jobs SET epoch = epoch + 1 WHERE id = $1")
            .bind(id.as_str())
            .execute(&self.pool)
            .await?;
        if updated.rows_affected() == 0 {
            return Err(BulkError::NotFound { id: id.to_string() });
        }
        let row = sqlx::query("SELECT * FROM bulk_jobs WHERE id = $1")
            .bind(id.as_str())
            .fetch_one(&self.pool)
            .await?;
        let count = |column: &str| row.try_get::<i64, _>(column).map(unsigned);
        let mut checkpoint = Checkpoint {
            done_lines: count("done_lines")?,
            done_position: count("done_position")?,
            spans: BTreeMap::new(),
            output_bytes: count("output_bytes")?,
            error_bytes: count("error_bytes")?,
        };
        let spans = sqlx::query("SELECT * FROM bulk_spans WHERE job = $1 ORDER BY first_line")
            .bind(id.as_str())
            .fetch_all(&self.pool)
            .await?;
        for span in spans {
            let count = |column: &str| span.try_get::<i64, _>(column).map(unsigned);
            let span = Span {
                first_line: count("first_line")?,
                lines: count("lines")?,
                start: count("start_position")?,
                end: count("end_position")?,
            };
            checkpoint.spans.insert(span.first_line, span);
        }
        let verdict: Option<String> = row.try_get("verdict")?;
        Ok(Taken {
            job: read_job(&row)?,
            epoch: row.try_get("epoch")?,
            checkpoint,
            fingerprint: row.try_get("fingerprint")?,
            verdict: verdict.map(|text| serde_json::from_str(&text).map_err(corrupt)).transpose()?,
        })
    }

    /// Writes how far a job has come. Gives the state that the database has: it may have become `cancelling`.
    pub(crate) async fn commit(&self, taken: &Taken, commit: &Commit<'_>) -> Result<JobState, BulkError> {
        let (id, checkpoint) = (&taken.job.id, commit.checkpoint);
        let (counts, cost) = (&commit.counts, &commit.cost);
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "UPDATE bulk_jobs SET done_lines = $1, done_position = $2, output_bytes = $3, error_bytes = $4,
                completed = $5, failed = $6, items = $7, unknown_outcomes = $8,
                usd = $9, billed_ms = $10, gb_seconds = $11, invocations = $12, cold_starts = $13,
                cost_is_estimate = $14, active_ms = $15
             WHERE id = $16 AND epoch = $17 RETURNING state",
        )
        .bind(signed(checkpoint.done_lines))
        .bind(signed(checkpoint.done_position))
        .bind(signed(checkpoint.output_bytes))
        .bind(signed(checkpoint.error_bytes))
        .bind(signed(counts.completed))
        .bind(signed(counts.failed))
        .bind(signed(counts.items))
        .bind(signed(counts.unknown_outcomes))
        .bind(cost.usd)
        .bind(signed(cost.billed_ms))
        .bind(cost.gb_seconds)
        .bind(signed(cost.invocations))
        .bind(signed(cost.cold_starts))
        .bind(i64::from(cost.is_estimate))
        .bind(i64::try_from(commit.active.as_millis()).unwrap_or(i64::MAX))
        .bind(id.as_str())
        .bind(taken.epoch)
        .fetch_optional(&mut *transaction)
        .await?;
        let row = row.ok_or_else(|| BulkError::Busy { id: id.clone() })?;
        sqlx::query("DELETE FROM bulk_spans WHERE job = $1")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
        for span in checkpoint.spans.values() {
            sqlx::query(
                "INSERT INTO bulk_spans (job, first_line, lines, start_position, end_position)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(id.as_str())
            .bind(signed(span.first_line))
            .bind(signed(span.lines))
            .bind(signed(span.start))
            .bind(signed(span.end))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        let state: String = row.try_get("state")?;
        JobState::from_name(&state).ok_or_else(|| corrupt(format_args!("`{state}` is no state")))
    }

    /// The input has been read once: it holds so many lines.
    pub(crate) async fn validated(
        &self,
        taken: &Taken,
        fingerprint: &str,
        total: u64,
    ) -> Result<(), BulkError> {
        let updated =
            sqlx::query("UPDATE bulk_jobs SET fingerprint = $1, total = $2 WHERE id = $3 AND epoch = $4")
                .bind(fingerprint)
                .bind(signed(total))
                .bind(taken.job.id.as_str())
                .bind(taken.epoch)
                .execute(&self.pool)
                .await?;
        still_ours(taken, updated.rows_affected())
    }

    /// Writes what the job is asked for anew: its plan was chosen.
    pub(crate) async fn set_spec(&self, taken: &Taken, spec: &JobSpec) -> Result<(), BulkError> {
        let updated = sqlx::query("UPDATE bulk_jobs SET spec = $1 WHERE id = $2 AND epoch = $3")
            .bind(to_json(spec)?)
            .bind(taken.job.id.as_str())
            .bind(taken.epoch)
            .execute(&self.pool)
            .await?;
        still_ours(taken, updated.rows_affected())
    }

    /// Moves a job on. A job that is `cancelling` goes only to `finalizing` as cancelled, or to a final state: gives the state that it has now.
    pub(crate) async fn move_on(
        &self,
        taken: &Taken,
        state: JobState,
        verdict: Option<Verdict>,
        failure: Option<&JobFailure>,
    ) -> Result<JobState, BulkError> {
        let id = taken.job.id.as_str();
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT state, reached FROM bulk_jobs WHERE id = $1 AND epoch = $2")
            .bind(id)
            .bind(taken.epoch)
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| BulkError::Busy { id: taken.job.id.clone() })?;
        let now: String = row.try_get("state")?;
        let is_cancelling = now == JobState::Cancelling.name();
        if is_cancelling && !state.is_final() && verdict != Some(Verdict::Cancelled) {
            return Ok(JobState::Cancelling);
        }
        let mut reached: BTreeMap<JobState, i64> =
            serde_json::from_str(&row.try_get::<String, _>("reached")?).map_err(corrupt)?;
        reached.insert(state, unix_millis());
        let updated = sqlx::query(
            "UPDATE bulk_jobs SET state = $1, reached = $2, failure = $3, verdict = COALESCE($4, verdict)
             WHERE id = $5 AND epoch = $6 AND state = $7",
        )
        .bind(state.name())
        .bind(to_json(&reached)?)
        .bind(failure.map(to_json).transpose()?)
        .bind(verdict.as_ref().map(to_json).transpose()?)
        .bind(id)
        .bind(taken.epoch)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        if updated.rows_affected() == 0 {
            // It was cancelled between the two statements, or taken over.
            return Box::pin(self.move_on(taken, state, verdict, failure)).await;
        }
        Ok(state)
    }

    /// The state that the database has now.
    pub(crate) async fn state(&self, taken: &Taken) -> Result<JobState, BulkError> {
        let row = sqlx::query("SELECT state FROM bulk_jobs WHERE id = $1 AND epoch = $2")
            .bind(taken.job.id.as_str())
            .bind(taken.epoch)
            .fetch_optional(&self.pool)
            .await?
            .ok_or_else(|| BulkError::Busy { id: taken.job.id.clone() })?;
        let state: String = row.try_get("state")?;
        JobState::from_name(&state).ok_or_else(|| corrupt(format_args!("`{state}` is no state")))
    }
}

fn still_ours(taken: &Taken, rows: u64) -> Result<(), BulkError> {
    if rows == 0 { Err(BulkError::Busy { id: taken.job.id.clone() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first_line: u64, lines: u64) -> Span {
        Span { first_line, lines, start: first_line * 10, end: (first_line + lines) * 10 }
    }

    #[test]
    fn spans_in_any_order_end_as_one_watermark() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut checkpoint = Checkpoint::default();
            for chunk in order {
                checkpoint.add(span(chunk * 5, 5));
            }
            assert_eq!((checkpoint.done_lines, checkpoint.done_position), (20, 200), "{order:?}");
            assert!(checkpoint.spans.is_empty(), "{order:?}");
        }
    }

    #[test]
    fn a_gap_keeps_what_lies_beyond_it_as_one_span() {
        let mut checkpoint = Checkpoint::default();
        checkpoint.add(span(10, 5));
        checkpoint.add(span(20, 5));
        checkpoint.add(span(15, 5));
        assert_eq!(checkpoint.done_lines, 0);
        assert_eq!(checkpoint.spans.values().copied().collect::<Vec<_>>(), [span(10, 15)]);
    }
}
