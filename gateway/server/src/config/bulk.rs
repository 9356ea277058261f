//! `[bulk]`: jobs through `/v1/files` and `/v1/batches`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bulk jobs inside the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkConfig {
    /// Folder for uploaded files, outputs and, unless `database_url` says otherwise, the database of jobs; relative to the configuration file, and
    /// made if it is not there. Default: none, and there are no routes for files and batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Database of jobs: `postgres://user@host/database`, or `sqlite:PATH`. No password in it: PostgreSQL's comes from `PGPASSWORD` or a
    /// `.pgpass` file. Default: the SQLite file `jobs.db` in `directory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// Invocations of all jobs at a time, at least 1, default 100. Live traffic goes first in any case: jobs use what it leaves. Less: a
    /// job takes longer; its dollars stay the same but for cold starts, which become fewer.
    #[schemars(range(min = 1))]
    pub max_parallelism: u32,
    /// Part of the account's concurrency that jobs have while both they and live traffic want more than there is, above 0 to 1, default 0.1.
    /// More: jobs go on under load, and live requests wait more often.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Jobs that run at a time, 1 to 64, default 4; others wait as `validating`. They share `max_parallelism`.
    #[schemars(range(min = 1, max = 64))]
    pub max_jobs: u32,
    /// Items of one invocation of a job, 0 to 10,000, default 0: what suits the job by what the model's tuner has learned from live traffic, else the plan's
    /// `max_batch_size`. More: fewer invocations and less overhead, until payload or
    /// function time-out end it; a failed invocation repeats more.
    #[schemars(range(min = 0, max = 10_000))]
    pub chunk_items: u32,
    /// Bytes of one uploaded file, at least 1, default 209,715,200 (200 MiB, as OpenAI has it). Beyond it: 413.
    #[schemars(range(min = 1))]
    pub max_file_bytes: u64,
    /// Bytes of all files in the folder together, at least 1, default 10,737,418,240 (10 GiB). An upload beyond it: 507.
    #[schemars(range(min = 1))]
    pub max_stored_bytes: u64,
    /// How long files are kept, hours, 1 to 87,600, default 720 (30 days). A caller may ask for less.
    #[schemars(range(min = 1, max = 87_600))]
    pub file_retention_hours: u32,
}

impl Default for BulkConfig {
    fn default() -> Self {
        Self {
            directory: None,
            database_url: None,
            max_parallelism: 100,
            weight: 0.1,
            max_jobs: 4,
            chunk_items: 0,
            max_file_bytes: 200 << 20,
            max_stored_bytes: 10 << 30,
            file_retention_hours: 720,
        }
    }
}

impl BulkConfig {
    /// First key out of its range, and the range.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let ranges = [
            ("max_parallelism", self.max_parallelism >= 1, "must be at least 1"),
            ("weight", self.weight > 0.0 && self.weight <= 1.0, "must be above 0 and at most 1"),
            ("max_jobs", (1..=64).contains(&self.max_jobs), "must be 1 to 64"),
            ("chunk_items", self.chunk_items <= 10_000, "must be 0 to 10000"),
            ("max_file_bytes", self.max_file_bytes >= 1, "must be at least 1"),
            ("max_stored_bytes", self.max_stored_bytes >= 1, "must be at least 1"),
            ("file_retention_hours", (1..=87_600).contains(&self.file_retention_hours), "must be 1 to 87600"),
        ];
        if let Some((key, _, range)) = ranges.into_iter().find(|(_, fits, _)| !fits) {
            return Err((key, range));
        }
        let Some(url) = &self.database_url else { return Ok(()) };
        if self.directory.is_none() {
            return Err(("database_url", "needs `directory` beside it, for files"));
        }
        if !["postgres:", "postgresql:", "sqlite:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(("database_url", "must begin with `postgres://` or `sqlite:`"));
        }
        let authority = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
        let has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        if has_password || url.contains("password=") {
            return Err(("database_url", "must not hold a password: use `PGPASSWORD` or a `.pgpass` file"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_no_place_in_the_file() {
        let with = |url: &str| BulkConfig {
            directory: Some("bulk".into()),
            database_url: Some(url.to_owned()),
            ..BulkConfig::default()
        };
        for fits in ["postgres://me@host:5432/jobs", "sqlite:jobs.db", "postgresql:///jobs?host=/run/x"] {
            assert_eq!(with(fits).check(), Ok(()), "{fits}");
        }
        for wrong in
            ["postgres://me:secret@host/jobs", "postgres://host/jobs?password=x", "mysql://host/jobs"]
        {
            assert_eq!(with(wrong).check().unwrap_err().0, "database_url", "{wrong}");
        }
    }
}
