//! The public routes.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::errors::{ApiError, Code};
use super::metadata::ModelPath;
use super::openai::{self, OpenAiError};
use super::{HttpState, health, infer, metadata, openapi, repository, statistics};
use crate::inference::Inference;

/// All `/v2` routes, the live ones of `/v1`, and their description. Others may be merged in.
pub fn public_router<I: Inference>(state: HttpState<I>) -> Router {
    let mut router = Router::new()
        .route("/v2", get(metadata::server))
        .route("/v2/", get(metadata::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready::<I>))
        .route("/v2/models/stats", get(statistics::all::<I>))
        .route("/v2/repository/index", post(repository::index::<I>))
        .route("/v1/embeddings", post(openai::embeddings::<I>))
        .route("/v1/models", get(openai::list_models::<I>))
        .route("/v1/models/{model}", get(openai::one_model::<I>))
        .route("/openapi.json", get(openapi::document));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        router = router
            .route(model, get(metadata::model::<I>))
            .route(&format!("{model}/ready"), get(metadata::model_ready::<I>))
            .route(&format!("{model}/config"), get(metadata::model_config::<I>))
            .route(&format!("{model}/stats"), get(statistics::model::<I>))
            .route(&format!("{model}/infer"), post(infer_route::<I>));
    }
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(state)
}

/// `POST /v2/models/{model}[/versions/{version}]/infer`
async fn infer_route<I: Inference>(
    State(state): State<HttpState<I>>,
    Path(path): Path<ModelPath>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    infer::infer(&state, &path.model, path.version.as_deref(), &head, body).await
}

async fn not_found(uri: Uri) -> Response {
    in_form(&uri, ApiError::new(Code::NotFound, "no such route"))
}

pub(super) async fn method_not_allowed(uri: Uri) -> Response {
    in_form(&uri, ApiError::new(Code::MethodNotAllowed, "the route has no such method"))
}

/// An error in the form that clients of this path read.
fn in_form(uri: &Uri, error: ApiError) -> Response {
    if uri.path().starts_with("/v1/") {
        OpenAiError::from(error).into_response()
    } else {
        error.into_response()
    }
}
