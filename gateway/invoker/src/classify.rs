//! SDK errors → [`InvokeError`]: what ran, what did not, what may have.
//!
//! The line that matters is between "not executed" (retry freely) and "may have run" (retry once at most). Only a failure to
//! connect, to sign or an explicit refusal counts as not executed; everything after the first byte was sent may have run.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::invoke::InvokeError as SdkInvokeError;
use aws_sdk_lambda::types::ThrottleReason as SdkReason;
use serde::Deserialize;

use crate::{InvokeError, Metering, RefusedCause, ThrottleReason, UnknownCause};

/// Sorts an SDK error. `bytes` is the size of the request's payload.
pub(crate) fn sdk_error(error: &SdkError<SdkInvokeError, HttpResponse>, bytes: usize) -> InvokeError {
    let unknown = |cause| InvokeError::Unknown { cause };
    match error {
        SdkError::ServiceError(service) => {
            service_error(service.err(), service.raw().status().as_u16(), bytes)
        }
        SdkError::TimeoutError(_) => unknown(UnknownCause::Timeout),
        SdkError::ResponseError(_) => unknown(UnknownCause::BadResponse),
        SdkError::ConstructionFailure(_) => not_sent(error).unwrap_or_else(|| InvokeError::Refused {
            cause: RefusedCause::Other,
            message: chain_text(error),
        }),
        SdkError::DispatchFailure(failure) => not_sent(error).unwrap_or_else(|| {
            unknown(if failure.is_timeout() { UnknownCause::Timeout } else { UnknownCause::ConnectionLost })
        }),
        _ => unknown(UnknownCause::BadResponse),
    }
}

/// A failure before anything was sent: no credentials, no name, no connection.
fn not_sent(error: &(dyn StdError + 'static)) -> Option<InvokeError> {
    let mut next = Some(error);
    while let Some(cause) = next {
        let connecting = cause
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect);
        if connecting || cause.is::<CredentialsError>() {
            return Some(InvokeError::Unreachable { message: chain_text(cause) });
        }
        next = cause.source();
    }
    None
}

fn chain_text(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn service_error(error: &SdkInvokeError, status: u16, bytes: usize) -> InvokeError {
    let code = error.code().unwrap_or_default();
    let message = || error.message().unwrap_or(code).to_owned();
    if let SdkInvokeError::TooManyRequestsException(throttle) = error {
        return InvokeError::Throttled {
            reason: throttle.reason().map_or(ThrottleReason::Other, throttle_reason),
            retry_after: throttle.retry_after_seconds().and_then(seconds),
        };
    }
    match code {
        "RequestTooLargeException" | "SerializedRequestEntityTooLargeException" => {
            return InvokeError::RequestTooLarge { bytes };
        }
        // Lambda could not get a sandbox ready: nothing ran, and a later attempt may find it ready.
        "EC2ThrottledException"
        | "ENILimitReachedException"
        | "ENINotReadyException"
        | "ResourceNotReadyException"
        | "SnapStartNotReadyException"
        | "ResourceConflictException" => {
            return InvokeError::Unreachable { message: message() };
        }
        _ => {}
    }
    match (refused_cause(code), status) {
        (Some(cause), _) => InvokeError::Refused { cause, message: message() },
        (None, 429) => InvokeError::Throttled { reason: ThrottleReason::Other, retry_after: None },
        (None, 413) => InvokeError::RequestTooLarge { bytes },
        (None, 400..=499) => InvokeError::Refused { cause: RefusedCause::Other, message: message() },
        (None, _) => InvokeError::Unknown { cause: UnknownCause::ServerError },
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the SDK's enum grows, and its unknown variant may not be named"
)]
fn throttle_reason(reason: &SdkReason) -> ThrottleReason {
    match reason {
        SdkReason::ConcurrentInvocationLimitExceeded => ThrottleReason::Concurrency,
        SdkReason::ReservedFunctionConcurrentInvocationLimitExceeded => ThrottleReason::ReservedConcurrency,
        SdkReason::FunctionInvocationRateLimitExceeded
        | SdkReason::ReservedFunctionInvocationRateLimitExceeded => ThrottleReason::FunctionRate,
        SdkReason::CallerRateLimitExceeded => ThrottleReason::CallerRate,
        _ => ThrottleReason::Other,
    }
}

/// Longest back-off that Lambda can ask for, so that a broken header cannot stop a model.
const LONGEST_RETRY_AFTER_SECONDS: f64 = 60.0;

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST_RETRY_AFTER_SECONDS)))
}

fn refused_cause(code: &str) -> Option<RefusedCause> {
    Some(match code {
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "OptInRequired" => RefusedCause::AccessDenied,
        "ResourceNotFoundException" | "NoPublishedVersionException" => RefusedCause::NotFound,
        "ExpiredToken" | "ExpiredTokenException" => RefusedCause::ExpiredToken,
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => RefusedCause::BadSignature,
        "InvalidRuntimeException"
        | "InvalidZipFileException"
        | "InvalidSecurityGroupIDException"
        | "InvalidSubnetIDException"
        | "SubnetIPAddressLimitReachedException" => RefusedCause::Misconfigured,
        code if code.starts_with("KMS") || code.starts_with("EFS") || code.starts_with("S3Files") => {
            RefusedCause::Misconfigured
        }
        _ => return None,
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FunctionFailure {
    error_type: String,
    error_message: String,
}

/// Sorts a function error by the `errorType` of its payload.
pub(crate) fn function_error(payload: &[u8], metering: Metering, request_id: Option<String>) -> InvokeError {
    let failure: FunctionFailure = serde_json::from_slice(payload).unwrap_or_default();
    let FunctionFailure { error_type, error_message: message } = failure;
    match error_type.as_str() {
        "Function.ResponseSizeTooLarge" | "ResponseTooLarge" => InvokeError::ResponseTooLarge { metering },
        "ProtocolVersionMismatch" => InvokeError::Refused { cause: RefusedCause::ProtocolMismatch, message },
        "ModelMismatch" => InvokeError::Refused { cause: RefusedCause::ModelMismatch, message },
        _ => InvokeError::Function { error_type, message, metering, request_id },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_bounded_and_never_negative() {
        assert_eq!(seconds("2"), Some(Duration::from_secs(2)));
        assert_eq!(seconds(" 0.25 "), Some(Duration::from_millis(250)));
        assert_eq!(seconds("1e9"), Some(Duration::from_secs(60)));
        for bad in ["", "soon", "-1", "NaN"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_function_error_without_json_is_still_a_function_error() {
        let metering = Metering::estimate(Duration::from_millis(1));
        let request_id = Some("r".to_owned());
        let error = function_error(b"not json", metering, request_id.clone());
        assert_eq!(error.request_id(), Some("r"));
        assert_eq!(
            error,
            InvokeError::Function { error_type: String::new(), message: String::new(), metering, request_id }
        );
    }
}
