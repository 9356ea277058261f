//! Makes the files of a job that has ended visible: rows for its output and its error file.
//!
//! It is done when a job ends and once more whenever an ended job is looked at, so that a process killed in between loses nothing.

use super::Api;
use super::disk;
use super::objects::JobFiles;
use crate::{BulkError, Job, Location, StoredFile, unix_millis};

/// The files of a job that can be had, with rows for them.
pub(super) async fn files_of(api: &Api, job: &Job) -> Result<JobFiles, BulkError> {
    if !job.state.is_final() {
        return Ok(JobFiles::default());
    }
    Ok(JobFiles {
        output: publish(api, job, &job.spec.output.location, "output").await?,
        errors: publish(api, job, &job.spec.errors, "error").await?,
    })
}

async fn publish(api: &Api, job: &Job, location: &Location, what: &str) -> Result<Option<String>, BulkError> {
    let (Location::Local(path), Some(id)) = (location, disk::id_of(location)) else {
        return Ok(None);
    };
    match api.store.file(&job.owner, &id).await {
        Ok(_) => return Ok(Some(id.to_string())),
        Err(BulkError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let bytes = match tokio::fs::metadata(path).await {
        Ok(metadata) => metadata.len(),
        Err(_gone) => return Ok(None), // deleted by its owner, expired, or never written
    };
    if bytes == 0 {
        let _ = tokio::fs::remove_file(path).await;
        return Ok(None);
    }
    let now = unix_millis();
    let kept = i64::try_from(api.settings.file_retention.as_millis()).unwrap_or(i64::MAX);
    let file = StoredFile {
        id: id.clone(),
        owner: job.owner.clone(),
        purpose: "batch_output".to_owned(),
        name: format!("{}_{what}.jsonl", job.id),
        bytes,
        created_at: now,
        expires_at: Some(now.saturating_add(kept)),
        path: path.clone(),
    };
    api.store.put_file(&file).await?;
    Ok(Some(id.to_string()))
}
