//! What this server and its models say of themselves: metadata, readiness of a model, configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use gateway_contract::PackingPolicy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workers_protocol::{Datatype, TensorSpec};

use super::HttpState;
use super::errors::{ApiError, Code};
use crate::inference::Inference;
use crate::registry::{Registry, ServedModel};

/// Extensions of the protocol that are served, and no others. `model_repository` is the index alone; loading is the configuration's.
const EXTENSIONS: [&str; 5] =
    ["binary_tensor_data", "statistics", "model_configuration", "model_repository", "parameters"];

/// The part of a path that names a model.
#[derive(Deserialize)]
pub(super) struct ModelPath {
    pub(super) model: String,
    #[serde(default)]
    pub(super) version: Option<String>,
}

/// The served model of this name and version.
pub(super) fn find_model(
    registry: &Registry,
    name: &str,
    version: Option<&str>,
) -> Result<Arc<ServedModel>, ApiError> {
    let clip = |text: &str| text.chars().take(64).collect::<String>();
    let model = registry
        .get(name)
        .ok_or_else(|| ApiError::new(Code::UnknownModel, format!("model `{}` is not served", clip(name))))?;
    match version {
        Some(version) if version != model.manifest.version => {
            let served = &model.manifest.version;
            let text =
                format!("model `{name}` has no version `{}`; version `{served}` is served", clip(version));
            Err(ApiError::new(Code::UnknownVersion, text))
        }
        _ => Ok(Arc::clone(model)),
    }
}

/// `GET /v2`
pub(super) async fn server() -> Json<Value> {
    Json(json!({ "name": "penstock", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS }))
}

#[derive(Serialize)]
struct TensorMetadata<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<i64>,
}

/// Tensors as a request carries them: the items come first.
fn tensors(specs: &[TensorSpec]) -> Vec<TensorMetadata<'_>> {
    let shape = |spec: &TensorSpec| std::iter::once(-1).chain(spec.shape.iter().copied()).collect();
    specs
        .iter()
        .map(|spec| TensorMetadata { name: &spec.name, datatype: spec.datatype.name(), shape: shape(spec) })
        .collect()
}

/// `GET /v2/models/{model}[/versions/{version}]`
pub(super) async fn model<I: Inference>(
    State(state): State<HttpState<I>>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Value>, ApiError> {
    let model = find_model(&state.registry.load(), &path.model, path.version.as_deref())?;
    Ok(Json(json!({
        "name": model.name,
        "versions": [model.manifest.version],
        "platform": model.manifest.platform,
        "inputs": tensors(&model.manifest.inputs),
        "outputs": tensors(&model.manifest.outputs),
    })))
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`
pub(super) async fn model_ready<I: Inference>(
    State(state): State<HttpState<I>>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Value>, ApiError> {
    let model = find_model(&state.registry.load(), &path.model, path.version.as_deref())?;
    if !state.readiness.is_model_ready(&model.name) {
        return Err(ApiError::new(Code::NotReady, format!("model `{}` is not ready", model.name)));
    }
    Ok(Json(json!({ "name": model.name, "ready": true })))
}

/// `GET /v2/models/{model}[/versions/{version}]/config`: in the form that Triton's clients read.
pub(super) async fn model_config<I: Inference>(
    State(state): State<HttpState<I>>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Value>, ApiError> {
    let model = find_model(&state.registry.load(), &path.model, path.version.as_deref())?;
    let plan = &model.plan;
    let mut config = json!({
        "name": model.name,
        "platform": model.manifest.platform,
        "backend": "penstock",
        "max_batch_size": plan.max_batch_size,
        "input": config_tensors(&model.manifest.inputs),
        "output": config_tensors(&model.manifest.outputs),
        "model_transaction_policy": { "decoupled": false },
    });
    if plan.packing != PackingPolicy::None {
        let max_queue_delay_us = u64::try_from(plan.max_queue_delay.as_micros()).unwrap_or(u64::MAX);
        config["dynamic_batching"] = json!({ "max_queue_delay_microseconds": max_queue_delay_us });
    }
    Ok(Json(config))
}

/// Tensors as a model configuration names them: without the items.
fn config_tensors(specs: &[TensorSpec]) -> Vec<Value> {
    let data_type = |datatype: Datatype| {
        let name = if datatype == Datatype::Bytes { "STRING" } else { datatype.name() };
        format!("TYPE_{name}")
    };
    specs
        .iter()
        .map(|spec| json!({ "name": spec.name, "data_type": data_type(spec.datatype), "dims": spec.shape }))
        .collect()
}
