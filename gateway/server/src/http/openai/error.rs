//! Errors in OpenAI's form: `{"error": {message, type, param, code}}`.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::http::errors::{ApiError, Code};

/// A request under `/v1` that gets an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAiError {
    pub(super) status: StatusCode,
    pub(super) code: Code,
    /// Name of `code` as OpenAI has it, where it has one.
    name: &'static str,
    param: Option<&'static str>,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl OpenAiError {
    /// A request that must be changed: 400.
    pub(in crate::http) fn invalid(
        param: Option<&'static str>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { param, ..ApiError::new(Code::InvalidRequest, message).into() }
    }

    /// The same about another status and code.
    pub(super) fn of(code: Code, param: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { param: Some(param), ..ApiError::new(code, message).into() }
    }

    /// Status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// For programs, as in the body.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.name
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Value {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.name } })
    }
}

impl From<ApiError> for OpenAiError {
    fn from(error: ApiError) -> Self {
        let (name, param) = if error.code == Code::UnknownModel {
            ("model_not_found", Some("model"))
        } else {
            (error.code.name(), (!error.failed_items.is_empty()).then_some("input"))
        };
        Self {
            status: error.code.status(),
            code: error.code,
            name,
            param,
            message: error.message,
            retry_after: error.retry_after,
        }
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after {
            let seconds = u64::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_four_fields_that_clients_read() {
        let body = OpenAiError::from(ApiError::new(Code::UnknownModel, "model `x` is not served")).body();
        let expected = json!({ "error": {
            "message": "model `x` is not served", "type": "invalid_request_error", "param": "model", "code": "model_not_found"
        } });
        assert_eq!(body, expected);
        let error = OpenAiError::from(ApiError::new(Code::QueueFull, "full"));
        assert_eq!((error.status(), &error.body()["error"]["type"]), (503, &json!("server_error")));
        assert!(error.into_response().headers().contains_key(RETRY_AFTER));
    }
}
