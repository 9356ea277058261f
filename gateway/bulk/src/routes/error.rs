//! Errors of the routes in OpenAI's form: `{"error": {message, type, param, code}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::BulkError;

/// A request that gets an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) param: Option<&'static str>,
    pub(super) message: String,
}

impl RouteError {
    /// A request that must be changed.
    pub(super) fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_request",
            param: Some(param),
            message: message.into(),
        }
    }

    /// An id that is nobody's, or another owner's.
    pub(super) fn not_found(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            param: Some("id"),
            message: format!("no {what} `{id}`"),
        }
    }

    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, param: None, message: message.into() }
    }

    /// Whatever is ours: logged with its reason, told without.
    pub(super) fn internal(what: &'static str, reason: &dyn std::fmt::Display) -> Self {
        tracing::error!(%reason, "{what}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
    }
}

impl From<BulkError> for RouteError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are ours, not the caller's")]
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::NotFound { id } => Self::not_found("file or batch", &id),
            BulkError::WrongState { .. } | BulkError::Busy { .. } => {
                Self::new(StatusCode::CONFLICT, "conflict", error.to_string())
            }
            BulkError::Usage { reason } => Self::new(StatusCode::BAD_REQUEST, "invalid_request", reason),
            other => Self::internal("a route of bulk jobs failed", &other),
        }
    }
}

impl IntoResponse for RouteError {
    fn into_response(self) -> Response {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({ "message": self.message, "type": kind, "param": self.param, "code": self.code });
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}
