//! `/control` on the admin listener: what the loop knows, and what an operator may tell it.
//!
//! Reading shows what the loop wrote last, so it works while the loop does not; only the surface is made by the loop when it is asked for. Changes
//! must come as JSON by their content type, which no page of another origin can send without being asked first. Deliberately absent: authentication
//! (the listener is private) and control over anything but the choice of plans.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use optimizer_tuner::Command;
use serde::Deserialize;
use serde_json::{Value, json};

use super::handle::{CommandError, ControlHandle, Snapshot};
use super::history::{BATCHES, History};
use super::point::PinnedPoint;

/// The routes.
pub(crate) fn router(control: ControlHandle) -> Router {
    Router::new()
        .route("/control/models", get(list))
        .route("/control/models/{model}", get(show))
        .route("/control/models/{model}/history", get(history))
        .route("/control/models/{model}/batches", get(batches))
        .route("/control/models/{model}/surface", get(surface))
        .route("/control/models/{model}/{action}", post(act))
        .with_state(control)
}

type Answer = Result<Json<Value>, Failure>;

/// An error with its status.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let status = match error {
            CommandError::UnknownModel(_) => StatusCode::NOT_FOUND,
            CommandError::Refused(_) => StatusCode::CONFLICT,
            CommandError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

async fn list(State(control): State<ControlHandle>) -> Json<Value> {
    let snapshots = control.snapshots();
    Json(json!({ "models": snapshots.values().map(|model| &model.summary).collect::<Vec<_>>() }))
}

async fn show(State(control): State<ControlHandle>, Path(model): Path<String>) -> Answer {
    Ok(Json(find(&control, &model)?.detail.clone()))
}

/// What a reader has seen already, and how much it wants.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Since {
    /// Number of the last entry that it has.
    after: u64,
    /// Of the process that gave it that number; of another one the number says nothing.
    started_unix_ms: Option<u64>,
    /// Entries at most, the newest.
    limit: Option<usize>,
}

type SinceQuery = Result<Query<Since>, QueryRejection>;

async fn history(
    State(control): State<ControlHandle>,
    Path(model): Path<String>,
    since: SinceQuery,
) -> Answer {
    let (history, since) = ring(&control, &model, since)?;
    Ok(Json(stamped(&control, history.since(since.after))))
}

async fn batches(
    State(control): State<ControlHandle>,
    Path(model): Path<String>,
    since: SinceQuery,
) -> Answer {
    let (history, since) = ring(&control, &model, since)?;
    let limit = since.limit.unwrap_or(BATCHES).min(BATCHES);
    Ok(Json(stamped(&control, history.batches_since(since.after, limit))))
}

fn ring(control: &ControlHandle, model: &str, since: SinceQuery) -> Result<(Arc<History>, Since), Failure> {
    let Query(since) =
        since.map_err(|error| Failure(StatusCode::BAD_REQUEST, error.body_text().to_lowercase()))?;
    let history = control.histories.get(model);
    let history = history.ok_or_else(|| CommandError::UnknownModel(model.to_owned()))?;
    let is_ours = since.started_unix_ms.is_none_or(|started| started == control.started_unix_ms());
    Ok((history, if is_ours { since } else { Since { after: 0, ..since } }))
}

/// With the time of the answer, and when that time began.
fn stamped(control: &ControlHandle, mut value: Value) -> Value {
    value["now_s"] = json!(control.now().as_nanos() as f64 / 1e9);
    value["started_unix_ms"] = json!(control.started_unix_ms());
    value
}

async fn surface(State(control): State<ControlHandle>, Path(model): Path<String>) -> Answer {
    let known = find(&control, &model)?;
    let surface = control.surface(&model).await?;
    let slo = &known.detail["slo_latency_ms"];
    Ok(Json(json!({ "model": model, "slo_latency_ms": slo, "surface": surface.as_deref() })))
}

async fn act(
    State(control): State<ControlHandle>,
    Path((model, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    if !is_json(&headers) {
        let text = "changes are sent with `content-type: application/json`";
        return Err(Failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()));
    }
    let known = find(&control, &model)?;
    let command = match action.as_str() {
        "pin" => Command::Pin(Box::new(pinned(&known, &body)?)),
        "freeze" => Command::Freeze,
        "resume" => Command::Resume,
        "forget" => Command::Forget,
        other => {
            let text = format!("no action `{other}`; known: pin, freeze, resume, forget");
            return Err(Failure(StatusCode::NOT_FOUND, text));
        }
    };
    control.command(&model, command).await?;
    Ok(Json(find(&control, &model)?.summary.clone()))
}

/// Whether the body is called JSON. Forms of a web page cannot say so, and its scripts only after a preflight that nobody here answers.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

fn find(control: &ControlHandle, model: &str) -> Result<Arc<Snapshot>, Failure> {
    let found = control.snapshots().get(model).cloned();
    found.ok_or_else(|| CommandError::UnknownModel(model.to_owned()).into())
}

fn pinned(known: &Snapshot, body: &[u8]) -> Result<gateway_contract::ServingPlan, Failure> {
    let bad = |text: String| Failure(StatusCode::BAD_REQUEST, text);
    let point: PinnedPoint = if body.iter().all(u8::is_ascii_whitespace) {
        PinnedPoint::default()
    } else {
        serde_json::from_slice(body).map_err(|error| bad(format!("not an operating point: {error}")))?
    };
    let pinning = known.pinning.as_ref().ok_or_else(|| bad("nothing is in force yet".to_owned()))?;
    point.plan(&pinning.in_force, &pinning.base, &pinning.allowed).map_err(bad)
}
