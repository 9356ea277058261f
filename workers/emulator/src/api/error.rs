//! Errors as the Lambda API words them: type, status, message. The wording follows what the service answers, so that
//! clients that match on text work; types and statuses follow the published service model.

use crate::http_io::{Answer, json};
use crate::limits::ThrottleReason;
use http::{HeaderValue, StatusCode};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: u16,
    error_type: String,
    message: String,
    throttle: Option<(ThrottleReason, u64)>,
}

impl ApiError {
    fn new(status: u16, error_type: &str, message: impl Into<String>) -> Self {
        Self { status, error_type: error_type.to_owned(), message: message.into(), throttle: None }
    }

    /// 404 for a function, version or alias in an invocation or a read.
    pub(crate) fn function_not_found(arn: &str) -> Self {
        Self::new(404, "ResourceNotFoundException", format!("Function not found: {arn}"))
    }

    /// 404 for an alias.
    pub(crate) fn alias_not_found(arn: &str) -> Self {
        Self::new(404, "ResourceNotFoundException", format!("Cannot find alias arn: {arn}"))
    }

    /// 409 while a new function is not active.
    pub(crate) fn function_pending() -> Self {
        let message = "The operation cannot be performed at this time. The function is currently in the following state: Pending";
        Self::new(409, "ResourceConflictException", message)
    }

    /// 409 while an update is in progress.
    pub(crate) fn update_in_progress(arn: &str) -> Self {
        let message = format!(
            "The operation cannot be performed at this time. An update is in progress for resource: {arn}"
        );
        Self::new(409, "ResourceConflictException", message)
    }

    /// 409 with its own text.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "ResourceConflictException", message)
    }

    /// 412 for a change to another revision.
    pub(crate) fn revision_mismatch() -> Self {
        let message = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
                       retrieve the latest Revision Id";
        Self::new(412, "PreconditionFailedException", message)
    }

    /// 400 for a value that the service's own logic refuses.
    pub(crate) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidParameterValueException", message)
    }

    /// 400 for a value that the service's model refuses.
    pub(crate) fn validation(value: impl std::fmt::Display, member: &str, constraint: &str) -> Self {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
        );
        Self::new(400, "ValidationException", message)
    }

    /// 400 for a request body that is no JSON.
    pub(crate) fn invalid_content(reason: &str) -> Self {
        Self::new(
            400,
            "InvalidRequestContentException",
            format!("Could not parse request body into json: {reason}"),
        )
    }

    /// 400 for a configuration request whose body does not have the expected form.
    pub(crate) fn serialization(reason: &str) -> Self {
        Self::new(400, "SerializationException", reason)
    }

    /// 413 for an event that is too large.
    pub(crate) fn request_too_large(limit: usize) -> Self {
        let message = format!("Request must be smaller than {limit} bytes for the InvokeFunction operation");
        Self::new(413, "RequestTooLargeException", message)
    }

    /// 413 for a package that is too large.
    pub(crate) fn package_too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestTooLargeException",
            format!("Request must be smaller than {limit} bytes for the CreateFunction operation"),
        )
    }

    /// 429.
    pub(crate) fn throttled(reason: ThrottleReason, retry_after_seconds: u64) -> Self {
        let mut error = Self::new(429, "TooManyRequestsException", "Rate Exceeded.");
        error.throttle = Some((reason, retry_after_seconds));
        error
    }

    /// Any status and type, for the fault script.
    pub(crate) fn scripted(status: u16, error_type: &str) -> Self {
        Self::new(status, error_type, "The service encountered an internal error. Please try again later.")
    }

    /// 404 for a path that the emulator does not have.
    pub(crate) fn unknown_operation() -> Self {
        Self::new(404, "UnknownOperationException", "this operation is not emulated")
    }

    /// The HTTP answer.
    pub(crate) fn into_answer(self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = if self.status < 500 { "User" } else { "Service" };
        // The service model spells the member with a capital for some shapes and without for others; clients read
        // either, so both are given.
        let mut body = serde_json::json!({ "Type": kind, "Message": self.message, "message": self.message });
        if let Some((reason, seconds)) = self.throttle {
            body["Reason"] = reason.as_str().into();
            body["retryAfterSeconds"] = seconds.to_string().into();
        }
        let mut answer = json(status, body.to_string());
        let headers = answer.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&self.error_type) {
            headers.insert("x-amzn-errortype", value);
        }
        if let Some((_, seconds)) = self.throttle {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}
