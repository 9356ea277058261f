//! The statistics extension: the counters of one model or of all.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::HttpState;
use super::errors::ApiError;
use super::metadata::{ModelPath, find_model};
use crate::inference::Inference;
use crate::registry::ServedModel;
use crate::statistics::CountAndTime;

/// `GET /v2/models/{model}[/versions/{version}]/stats`
pub(super) async fn model<I: Inference>(
    State(state): State<HttpState<I>>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Value>, ApiError> {
    let model = find_model(&state.registry.load(), &path.model, path.version.as_deref())?;
    Ok(Json(json!({ "model_stats": [of_model(&model)] })))
}

/// `GET /v2/models/stats`
pub(super) async fn all<I: Inference>(State(state): State<HttpState<I>>) -> Json<Value> {
    let models: Vec<Value> = state.registry.load().iter().map(|model| of_model(model)).collect();
    Json(json!({ "model_stats": models }))
}

fn of_model(model: &ServedModel) -> Value {
    let statistics = &model.statistics;
    // Clients insist that the stages of a request have equal counts; read one by one they could differ by a request in between.
    let (successes, _) = statistics.success.get();
    let stage = |stage: &CountAndTime| json!({ "count": successes, "ns": stage.get().1 });
    let whole = |whole: &CountAndTime| json!({ "count": whole.get().0, "ns": whole.get().1 });
    let batches: Vec<Value> = statistics
        .batches()
        .into_iter()
        .map(|(items, count, ns)| {
            let none = json!({ "count": count, "ns": 0 });
            json!({
                "batch_size": items,
                "compute_input": none,
                "compute_infer": { "count": count, "ns": ns },
                "compute_output": none,
            })
        })
        .collect();
    json!({
        "name": model.name,
        "version": model.manifest.version,
        "last_inference": statistics.last_inference_unix_ms(),
        "inference_count": statistics.inference_count.load(Ordering::Relaxed),
        "execution_count": statistics.execution_count.load(Ordering::Relaxed),
        "inference_stats": {
            "success": stage(&statistics.success),
            "fail": whole(&statistics.fail),
            "queue": stage(&statistics.queue),
            "compute_input": stage(&statistics.compute_input),
            "compute_infer": stage(&statistics.compute_infer),
            "compute_output": stage(&statistics.compute_output),
            "cache_hit": { "count": 0, "ns": 0 },
            "cache_miss": { "count": 0, "ns": 0 },
        },
        "batch_stats": batches,
        "memory_usage": [],
    })
}
