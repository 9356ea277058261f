//! The admin listener: metrics, liveness, readiness, the configuration in force, the control loop's routes and the console. It works while the public one does not.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::gateway::Shared;
use crate::config::{config_hash, print_effective};

/// How long a scrape waits for the driver's gauges: a stuck driver must not take the metrics with it.
const GAUGE_WAIT: std::time::Duration = std::time::Duration::from_millis(200);

pub(super) fn router(shared: Arc<Shared>, more: Router) -> Router {
    let has_jobs = more.has_routes();
    let gateway = {
        let shared = shared.clone();
        get(async move || Json(overview(&shared, has_jobs)))
    };
    Router::new()
        .route("/control/gateway", gateway)
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/config", get(config))
        .with_state(shared.clone())
        .merge(crate::control::router(shared.control.clone()))
        .merge(crate::console::router())
        .merge(more)
}

/// What is not of one model: who answers, since when, and whether it serves.
fn overview(shared: &Shared, has_jobs: bool) -> Value {
    let settings = &shared.loaded.load().settings;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_unix_ms": shared.control.started_unix_ms(),
        "now_s": shared.control.now().as_nanos() as f64 / 1e9,
        "is_live": shared.liveness.is_alive(),
        "is_ready": shared.readiness.is_ready() && shared.liveness.is_alive(),
        "is_draining": shared.readiness.is_draining(),
        "models": settings.models.iter().map(|model| &model.name).collect::<Vec<_>>(),
        "gateway_usd_per_hour": settings.gateway_usd_per_hour,
        "has_jobs": has_jobs,
    })
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let _ = tokio::time::timeout(GAUGE_WAIT, shared.driver.refresh_gauges()).await;
    shared.count_host_cost();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.catalogue.encode())
        .into_response()
}

async fn live(State(shared): State<Arc<Shared>>) -> Response {
    answer(shared.liveness.is_alive(), "live")
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    answer(shared.readiness.is_ready() && shared.liveness.is_alive(), "ready")
}

fn answer(holds: bool, what: &str) -> Response {
    let status = if holds { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{{\"{what}\":{holds}}}")).into_response()
}

/// Holds no secrets: the file has no place for any, and an endpoint with credentials in it is refused at load.
async fn config(State(shared): State<Arc<Shared>>) -> Response {
    let loaded = shared.loaded.load();
    let text = format!("# hash = {}\n{}", config_hash(&loaded.config), print_effective(&loaded, true));
    ([(header::CONTENT_TYPE, "application/toml; charset=utf-8")], text).into_response()
}
