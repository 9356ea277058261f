//! `/control` on the admin listener: what the loop knows, and what an operator may tell it.
//!
//! Reading shows what the loop wrote last, so it works while the loop does not. Deliberately absent: authentication (the listener is
//! private) and control over anything but the choice of plans.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use optimizer_tuner::Command;
use serde_json::{Value, json};

use super::handle::{CommandError, ControlHandle, Snapshot};
use super::point::PinnedPoint;

/// The routes.
pub(crate) fn router(control: ControlHandle) -> Router {
    Router::new()
        .route("/control/models", get(list))
        .route("/control/models/{model}", get(show))
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

async fn act(
    State(control): State<ControlHandle>,
    Path((model, action)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
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
