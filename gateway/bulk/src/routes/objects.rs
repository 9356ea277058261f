//! Files and jobs as OpenAI's objects. What this API has beside them stands under `penstock`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::disk;
use crate::{Job, JobFailure, JobState, StoredFile, UnixMillis};

/// Ids of a job's files that can be had now.
#[derive(Clone, Debug, Default)]
pub(super) struct JobFiles {
    pub(super) output: Option<String>,
    pub(super) errors: Option<String>,
}

/// A file object.
pub(super) fn file(file: &StoredFile) -> Value {
    json!({
        "id": file.id.as_str(),
        "object": "file",
        "bytes": file.bytes,
        "created_at": seconds(file.created_at),
        "expires_at": file.expires_at.map(seconds),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    })
}

/// A batch object.
pub(super) fn batch(job: &Job, files: &JobFiles) -> Value {
    let spec = &job.spec;
    let reached =
        |state: JobState| (state != JobState::Validating).then(|| job.reached.get(&state)).flatten();
    let mut object = json!({
        "id": job.id.as_str(),
        "object": "batch",
        "endpoint": spec.kind,
        "model": spec.model,
        "errors": job.failure.as_ref().map(errors),
        "input_file_id": disk::id_of(&spec.input.location).map(|id| id.to_string()),
        "completion_window": spec.finish_within.map(window),
        "status": job.state.name(),
        "output_file_id": files.output,
        "error_file_id": files.errors,
        "created_at": seconds(job.created_at),
        "expires_at": spec.expires_at.map(seconds),
        "request_counts": {
            "total": job.counts.total,
            "completed": job.counts.completed,
            "failed": job.counts.failed,
        },
        "metadata": spec.metadata,
        "penstock": {
            "cost_usd": job.cost.usd,
            "cost_is_estimate": job.cost.is_estimate,
            "billed_ms": job.cost.billed_ms,
            "invocations": job.cost.invocations,
            "cold_starts": job.cost.cold_starts,
            "items": job.counts.items,
            "unknown_outcomes": job.counts.unknown_outcomes,
        },
    });
    let times: Map<String, Value> = JobState::ALL
        .into_iter()
        .filter(|state| *state != JobState::Validating)
        .map(|state| (format!("{state}_at"), json!(reached(state).copied().map(seconds))))
        .collect();
    if let Value::Object(fields) = &mut object {
        fields.extend(times);
    }
    object
}

fn errors(failure: &JobFailure) -> Value {
    let lines = failure.problems.iter().map(|problem| {
        let code = if problem.code == "duplicate_id" { "duplicate_custom_id" } else { &problem.code };
        json!({ "code": code, "message": problem.message, "param": null, "line": problem.line })
    });
    let mut data: Vec<Value> = lines.collect();
    if data.is_empty() {
        data.push(json!({ "code": failure.code, "message": failure.message, "param": null, "line": null }));
    }
    json!({ "object": "list", "data": data })
}

/// OpenAI's times are whole seconds.
fn seconds(millis: UnixMillis) -> i64 {
    millis.div_euclid(1000)
}

/// `24h`, or `90m` where hours would not be exact.
pub(super) fn window(window: Duration) -> String {
    let minutes = window.as_secs() / 60;
    if minutes.is_multiple_of(60) { format!("{}h", minutes / 60) } else { format!("{minutes}m") }
}

/// Reads a window: hours or minutes, 1 minute to 7 days.
pub(super) fn parse_window(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = count.parse().ok()?;
    let minutes = match unit {
        "h" => count.checked_mul(60)?,
        "m" => count,
        "d" => count.checked_mul(1440)?,
        _ => return None,
    };
    (1..=7 * 1440).contains(&minutes).then(|| Duration::from_secs(minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_hours_or_minutes() {
        for (text, shown) in [("24h", "24h"), ("90m", "90m"), ("120m", "2h"), ("1d", "24h"), ("1m", "1m")] {
            assert_eq!(window(parse_window(text).unwrap()), shown);
        }
        for text in ["", "h", "0h", "8d", "24", "-1h", "1.5h", "24H", "é"] {
            assert_eq!(parse_window(text), None, "{text}");
        }
    }
}
