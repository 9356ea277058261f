//! The index of the model repository extension. Loading and unloading are the configuration's business, not a client's.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::HttpState;
use super::errors::{ApiError, Code};
use super::infer::body;
use crate::inference::Inference;

/// Bytes that the request's options may take.
const MAX_OPTIONS_BYTES: usize = 64 * 1024;

#[derive(Deserialize, Default)]
struct IndexOptions {
    /// Only models that are ready.
    #[serde(default)]
    ready: bool,
}

/// `POST /v2/repository/index`
pub(super) async fn index<I: Inference>(
    State(state): State<HttpState<I>>,
    request: Request<Body>,
) -> Result<Json<Value>, ApiError> {
    let mut config = (*state.config).clone();
    config.max_body_bytes = config.max_body_bytes.min(MAX_OPTIONS_BYTES);
    let held = body::read(request.into_body(), &config, &state.body_bytes).await?;
    let options = match held.bytes.trim_ascii() {
        [] => IndexOptions::default(),
        json => serde_json::from_slice(json)
            .map_err(|error| ApiError::new(Code::InvalidJson, format!("the request: {error}")))?,
    };
    let is_ready = state.readiness.is_ready();
    let entry = |name: &str, version: &str| match is_ready {
        true => json!({ "name": name, "version": version, "state": "READY", "reason": "" }),
        false => json!({ "name": name, "version": version, "state": "UNAVAILABLE", "reason": "not ready" }),
    };
    let registry = state.registry.load();
    let models = registry.iter().filter(|_| is_ready || !options.ready);
    Ok(Json(models.map(|model| entry(&model.name, &model.manifest.version)).collect()))
}
