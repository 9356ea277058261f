//! `GET /v1/models` and `GET /v1/models/{model}`: the served models, whether they embed or not.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::OpenAiError;
use super::model::Embedder;
use crate::http::HttpState;
use crate::http::metadata::find_model;
use crate::inference::Inference;
use crate::registry::ServedModel;

/// `GET /v1/models`
pub(in crate::http) async fn list<I: Inference>(State(state): State<HttpState<I>>) -> Json<Value> {
    let models: Vec<Value> = state.registry.load().iter().map(|model| describe(model)).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// `GET /v1/models/{model}`
pub(in crate::http) async fn one<I: Inference>(
    State(state): State<HttpState<I>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    Ok(Json(describe(&*find_model(&state.registry.load(), &name, None)?)))
}

/// `created` is 0: a model folder has no date that means anything to a client.
fn describe(model: &ServedModel) -> Value {
    let embedder = Embedder::of(&model.manifest);
    json!({
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "penstock",
        "version": model.manifest.version,
        "embeds": embedder.is_some(),
        "dimensions": embedder.and_then(|embedder| embedder.dimensions),
    })
}
