//! The one place where failures become status, code and public text.
//!
//! Every error body is `{"error": text, "code": code}`: `error` is what Open Inference Protocol clients read, `code` is for
//! programs. Texts never quote another request, an address or a path of this host.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use gateway_contract::ItemFailure;
use gateway_policy::Rejection;
use serde::Serialize;

use crate::inference::{FailedItem, InferError};

/// What went wrong, as programs see it. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// Not JSON, or nested too deep.
    InvalidJson,
    /// JSON that is not an inference request, or headers that do not fit the body.
    InvalidRequest,
    /// A tensor that does not fit itself or its model.
    InvalidTensor,
    /// An output that JSON cannot carry.
    UnrepresentableOutput,
    UnknownModel,
    UnknownVersion,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    TooLarge,
    UnsupportedEncoding,
    QueueFull,
    Overloaded,
    Draining,
    NotReady,
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    ProcessDied,
    ProcessHung,
    OutOfMemory,
    FunctionError,
    Throttled,
    UnknownOutcome,
    Refused,
    ResponseTooLarge,
    RequestTooLarge,
    Internal,
}

impl Code {
    /// Status and name.
    const fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidJson => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::InvalidTensor => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_tensor"),
            Self::UnrepresentableOutput => (StatusCode::UNPROCESSABLE_ENTITY, "unrepresentable_output"),
            Self::UnknownModel => (StatusCode::NOT_FOUND, "unknown_model"),
            Self::UnknownVersion => (StatusCode::NOT_FOUND, "unknown_version"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::UnsupportedEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
            Self::QueueFull => (StatusCode::SERVICE_UNAVAILABLE, "queue_full"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
            Self::InvalidInput => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_input"),
            Self::ModelFailed => (StatusCode::BAD_GATEWAY, "model_failed"),
            Self::ProcessDied => (StatusCode::BAD_GATEWAY, "process_died"),
            Self::ProcessHung => (StatusCode::BAD_GATEWAY, "process_hung"),
            Self::OutOfMemory => (StatusCode::BAD_GATEWAY, "out_of_memory"),
            Self::FunctionError => (StatusCode::BAD_GATEWAY, "function_error"),
            Self::Throttled => (StatusCode::SERVICE_UNAVAILABLE, "throttled"),
            Self::UnknownOutcome => (StatusCode::BAD_GATEWAY, "unknown_outcome"),
            Self::Refused => (StatusCode::BAD_GATEWAY, "refused"),
            Self::ResponseTooLarge => (StatusCode::BAD_GATEWAY, "response_too_large"),
            Self::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Status of the answer.
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// Name in bodies and metrics.
    pub(crate) const fn name(self) -> &'static str {
        self.parts().1
    }
}

/// A request that gets an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    /// For people: lower case, names the field.
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) failed_items: Vec<FailedItemBody>,
    /// The request's own id, given back.
    pub(crate) id: Option<String>,
}

/// One failed item in an error body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailedItemBody {
    index: u32,
    code: &'static str,
    message: Cow<'static, str>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match code.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some(Duration::from_secs(1)),
            _ => None,
        };
        Self { code, message: message.into(), retry_after, failed_items: Vec::new(), id: None }
    }

    /// A request with items that got no value. The worst status (the highest) speaks for all.
    pub(crate) fn from_failed_items(items: u32, failed: &[FailedItem]) -> Self {
        let worst = failed
            .iter()
            .max_by_key(|item| (code_of_item(item.failure).status().as_u16(), std::cmp::Reverse(item.item)));
        let Some(worst) = worst else {
            return Self::new(Code::Internal, "no item has a value");
        };
        let first = text_of_item(worst);
        let message = match (failed.len(), items) {
            (1, 1) => first.into_owned(),
            (count, _) => format!("{count} of {items} items failed; item {}: {first}", worst.item),
        };
        let bodies = failed.iter().map(|item| FailedItemBody {
            index: item.item,
            code: code_of_item(item.failure).name(),
            message: text_of_item(item),
        });
        Self { failed_items: bodies.collect(), ..Self::new(code_of_item(worst.failure), message) }
    }

    /// The body, as JSON.
    fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct ErrorBody<'a> {
            error: &'a str,
            code: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            failed_items: &'a [FailedItemBody],
        }
        let body = ErrorBody {
            error: &self.message,
            code: self.code.name(),
            id: self.id.as_deref(),
            failed_items: &self.failed_items,
        };
        serde_json::to_vec(&body)
            .unwrap_or_else(|_| br#"{"error":"internal error","code":"internal"}"#.to_vec())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.code.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: 0 would ask for a retry at once.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        response
    }
}

impl From<InferError> for ApiError {
    fn from(error: InferError) -> Self {
        match error {
            InferError::Rejected(rejection) => rejection.into(),
            InferError::DeadlineExceeded => {
                Self::new(Code::DeadlineExceeded, "the request's time-out passed")
            }
            InferError::Stopped => Self::new(Code::Draining, "the gateway is stopping"),
        }
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::UnknownModel => Self::new(Code::UnknownModel, "the model is not served"),
            Rejection::InvalidRequest => {
                Self::new(Code::InvalidRequest, "the request does not fit its model")
            }
            Rejection::QueueFull { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(Code::QueueFull, "the model's queue is full")
            },
            Rejection::ItemTooLarge { item } => {
                let failed = FailedItem { item, failure: ItemFailure::RequestTooLarge, message: None };
                let text = format!("item {item}: {}", text_of_item(&failed));
                Self {
                    failed_items: Self::from_failed_items(1, &[failed]).failed_items,
                    ..Self::new(Code::RequestTooLarge, text)
                }
            }
            Rejection::DeadlineUnreachable => Self::new(
                Code::DeadlineExceeded,
                "the request's time-out is shorter than the earliest possible answer",
            ),
            Rejection::Draining => Self::new(Code::Draining, "the gateway is draining"),
        }
    }
}

fn code_of_item(failure: ItemFailure) -> Code {
    match failure {
        ItemFailure::InvalidInput => Code::InvalidInput,
        ItemFailure::ModelFailed => Code::ModelFailed,
        ItemFailure::ProcessDied => Code::ProcessDied,
        ItemFailure::ProcessHung => Code::ProcessHung,
        ItemFailure::OutOfMemory => Code::OutOfMemory,
        ItemFailure::DeadlineExceeded => Code::DeadlineExceeded,
        ItemFailure::FunctionError => Code::FunctionError,
        ItemFailure::Throttled => Code::Throttled,
        ItemFailure::UnknownOutcome => Code::UnknownOutcome,
        ItemFailure::Refused => Code::Refused,
        ItemFailure::ResponseTooLarge => Code::ResponseTooLarge,
        ItemFailure::RequestTooLarge => Code::RequestTooLarge,
    }
}

/// The worker's own words where they concern the caller's input, ours elsewhere.
fn text_of_item(item: &FailedItem) -> Cow<'static, str> {
    let generic = match item.failure {
        ItemFailure::InvalidInput => "the model cannot take this input",
        ItemFailure::ModelFailed => "the model failed on this input",
        ItemFailure::ProcessDied => "the model process died on this input",
        ItemFailure::ProcessHung => "the model process hung on this input",
        ItemFailure::OutOfMemory => "the model process ran out of memory on this input",
        ItemFailure::DeadlineExceeded => "no time was left to run it",
        ItemFailure::FunctionError => "the function failed on this input",
        ItemFailure::Throttled => "throttled for longer than may be waited",
        ItemFailure::UnknownOutcome => "the connection to the function broke; it may or may not have run",
        ItemFailure::Refused => "the function could not be invoked",
        ItemFailure::ResponseTooLarge => "the answer exceeds the function's response limit",
        ItemFailure::RequestTooLarge => "the input exceeds the function's request limit",
    };
    match (&item.message, item.failure) {
        (Some(said), ItemFailure::InvalidInput | ItemFailure::ModelFailed) => {
            format!("{generic}: {said}").into()
        }
        _ => generic.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(item: u32, failure: ItemFailure) -> FailedItem {
        FailedItem { item, failure, message: Some("said".to_owned()) }
    }

    #[test]
    fn the_worst_item_speaks_for_the_request() {
        let items = [
            failed(0, ItemFailure::InvalidInput),
            failed(3, ItemFailure::ProcessDied),
            failed(5, ItemFailure::ModelFailed),
        ];
        let error = ApiError::from_failed_items(8, &items);
        assert_eq!(error.code, Code::ProcessDied);
        assert_eq!(error.message, "3 of 8 items failed; item 3: the model process died on this input");
        let body: serde_json::Value = serde_json::from_slice(&error.body()).unwrap();
        assert_eq!(body["failed_items"][0]["code"], "invalid_input");
        assert_eq!(body["failed_items"][2]["index"], 5);
        assert_eq!(body["failed_items"][2]["message"], "the model failed on this input: said");
    }

    #[test]
    fn what_may_pass_says_when_to_retry() {
        let error = ApiError::from(Rejection::QueueFull { retry_after: Duration::from_millis(1200) });
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let response = ApiError::from(InferError::DeadlineExceeded).into_response();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn what_a_dead_process_said_stays_in_the_logs() {
        let error = ApiError::from_failed_items(1, &[failed(0, ItemFailure::ProcessDied)]);
        assert!(!error.message.contains("said"));
    }
}
