//! `GET /control/jobs` on the admin listener: the jobs of all callers, for whoever runs the gateway.
//!
//! What lines hold and whose jobs they are is not shown. Deliberately absent: changes; a job is its caller's.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use gateway_policy::share::ShareState;
use serde_json::{Value, json};

use super::batches::is_batch;
use super::{Api, Gate};
use crate::{Job, Snapshot};

/// Jobs that are shown: all that run, and of those that ended the newest.
const SHOWN: u32 = 50;

#[derive(Clone)]
pub(super) struct Operator {
    pub(super) api: Api,
    pub(super) gate: Gate,
}

pub(super) fn router(operator: Operator) -> Router {
    Router::new().route("/control/jobs", get(list)).with_state(operator)
}

async fn list(State(operator): State<Operator>) -> Response {
    let jobs = match operator.api.store.newest(SHOWN).await {
        Ok(jobs) => jobs,
        Err(error) => {
            tracing::error!(%error, "the jobs cannot be listed");
            let body = Json(json!({ "error": "the database of jobs does not answer" }));
            return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
        }
    };
    let shown = jobs.iter().filter(|job| is_batch(job));
    let rows: Vec<Value> = shown.map(|job| job_json(job, operator.api.jobs.progress(&job.id))).collect();
    let (share, in_flight) = operator.gate.share();
    let why = match share.state {
        ShareState::Left => "left",
        ShareState::Weight => "weight",
        ShareState::Risk => "risk",
        ShareState::Starved => "starved",
    };
    Json(json!({
        "share": { "allowed_invocations": share.allowed, "in_flight": in_flight, "why": why },
        "max_jobs": operator.api.settings.max_jobs,
        "jobs": rows,
    }))
    .into_response()
}

/// A job as the store has it, with the progress of this process where it runs it.
fn job_json(job: &Job, running: Option<Snapshot>) -> Value {
    let running = running.filter(|snapshot| snapshot.counts.total > 0 && !job.state.is_final());
    let counts = running.map_or(job.counts, |snapshot| snapshot.counts);
    let cost = running.map_or(job.cost, |snapshot| snapshot.cost);
    let reached = job.reached.iter().map(|(state, at)| (state.name().to_owned(), json!(at)));
    json!({
        "id": job.id.to_string(),
        "model": job.spec.model,
        "endpoint": job.spec.kind,
        "state": job.state.name(),
        "is_final": job.state.is_final(),
        "created_unix_ms": job.created_at,
        "reached_unix_ms": reached.collect::<serde_json::Map<_, _>>(),
        "lines": counts.total,
        "completed": counts.completed,
        "failed": counts.failed,
        "items": counts.items,
        "usd": cost.usd,
        "max_usd": job.spec.max_usd,
        "is_estimate": cost.is_estimate,
        "invocations": cost.invocations,
        "in_flight": running.map(|snapshot| snapshot.in_flight),
        "throttled": running.map(|snapshot| snapshot.throttled),
        "items_per_second": running.map(|snapshot| snapshot.items_per_second),
        "seconds_left": running.and_then(|snapshot| snapshot.time_left).map(|left| left.as_secs_f64()),
        "failure": job.failure.as_ref().map(|failure| json!({ "code": failure.code, "message": failure.message })),
    })
}
