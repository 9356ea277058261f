//! Liveness and readiness. Live: this process answers. Ready: it wants traffic.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::HttpState;
use crate::inference::Inference;

/// `GET /v2/health/live`
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`
pub(super) async fn ready<I: Inference>(State(state): State<HttpState<I>>) -> (StatusCode, Json<Value>) {
    if state.readiness.is_ready() {
        return (StatusCode::OK, Json(json!({ "live": true, "ready": true })));
    }
    let (error, code) = if state.readiness.is_draining() {
        ("the gateway is draining".to_owned(), "draining")
    } else if let Some((model, why)) = state.readiness.unservable() {
        (format!("model `{model}` cannot be served: {why}"), "not_ready")
    } else {
        ("the gateway is starting".to_owned(), "not_ready")
    };
    let body = json!({ "live": true, "ready": false, "error": error, "code": code });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}
