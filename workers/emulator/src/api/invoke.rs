//! `Invoke`: from the HTTP request to the admitted execution and back. The execution itself is the executor's.

use super::ApiError;
use super::names::{FunctionRef, query_value};
use crate::executor::{Execution, Mishap, execute};
use crate::faults::FaultAction;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::http_io::{Answer, Break, Collected, collect};
use crate::limits::ThrottleReason;
use crate::sandbox::{Event, FunctionError};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::time::Duration;

/// Largest event of a synchronous invocation, bytes.
const MAXIMUM_REQUEST_BYTES: usize = 6 * 1024 * 1024;

/// Largest event of an asynchronous invocation, bytes.
const MAXIMUM_EVENT_BYTES: usize = 1024 * 1024;

/// Seconds that a throttled caller is told to wait.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Tries of an asynchronous invocation that ends in a function error.
const EVENT_ATTEMPTS: u32 = 3;

/// Tries of an asynchronous invocation that is throttled, one a second.
const THROTTLED_ATTEMPTS: u32 = 300;

/// How the caller wants the function to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InvocationType {
    RequestResponse,
    Event,
    DryRun,
}

/// An invocation that can be executed.
struct Prepared {
    reference: FunctionRef,
    fleet: Arc<Fleet>,
    event: Arc<Event>,
    with_tail: bool,
}

/// Answers one `Invoke`.
pub(super) async fn handle(
    host: Arc<Host>,
    function: &str,
    request: Request<Incoming>,
) -> Result<Answer, Break> {
    let request_id = host.ids.next_uuid();
    let result = invoke(&host, function, request, &request_id).await?;
    let mut answer = result.unwrap_or_else(ApiError::into_answer);
    set(answer.headers_mut(), "x-amzn-requestid", &request_id);
    Ok(answer)
}

async fn invoke(
    host: &Arc<Host>,
    function: &str,
    request: Request<Incoming>,
    request_id: &str,
) -> Result<Result<Answer, ApiError>, Break> {
    let kind = match invocation_type(request.headers()) {
        Ok(kind) => kind,
        Err(error) => return Ok(Err(error)),
    };
    let prepared = match prepare(host, function, request, request_id, kind).await {
        Ok(prepared) => prepared,
        Err(error) => return Ok(Err(error)),
    };
    match kind {
        InvocationType::DryRun => Ok(Ok(status_only(StatusCode::NO_CONTENT, &prepared.fleet))),
        InvocationType::Event => Ok(run_later(host, prepared)),
        InvocationType::RequestResponse => run_now(host, prepared).await,
    }
}

fn invocation_type(headers: &HeaderMap) -> Result<InvocationType, ApiError> {
    match headers.get("x-amz-invocation-type").map(HeaderValue::as_bytes) {
        None | Some(b"RequestResponse") => Ok(InvocationType::RequestResponse),
        Some(b"Event") => Ok(InvocationType::Event),
        Some(b"DryRun") => Ok(InvocationType::DryRun),
        Some(other) => Err(ApiError::validation(
            String::from_utf8_lossy(other),
            "invocationType",
            "Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
        )),
    }
}

async fn prepare(
    host: &Arc<Host>,
    function: &str,
    request: Request<Incoming>,
    request_id: &str,
    kind: InvocationType,
) -> Result<Prepared, ApiError> {
    let reference = FunctionRef::parse(function, query_value(request.uri().query(), "Qualifier").as_deref())?;
    let (head, body) = request.into_parts();
    let limit = if kind == InvocationType::Event { MAXIMUM_EVENT_BYTES } else { MAXIMUM_REQUEST_BYTES };
    let payload = match collect(body, limit).await {
        Ok(Collected::Whole(payload, _)) => payload,
        Ok(Collected::TooLarge { .. }) => return Err(ApiError::request_too_large(limit)),
        Err(_) => return Err(ApiError::invalid_content("the body was cut off")),
    };
    let arn = host.arn(&reference.name);
    let suffix = reference.arn_suffix();
    let found = host.registry.get(&reference.name);
    let found = found.ok_or_else(|| ApiError::function_not_found(&format!("{arn}{suffix}")))?;
    let fleet = found.resolve(reference.qualifier.as_deref(), || host.ids.next_unit())?;
    let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
    serde_json::from_slice::<IgnoredAny>(&payload)
        .map_err(|error| ApiError::invalid_content(&error.to_string()))?;
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let event = Event {
        request_id: request_id.to_owned(),
        payload,
        client_context: text("x-amz-client-context").map(|context| decoded_context(&context)),
        trace_id: text("x-amzn-trace-id").unwrap_or_else(|| trace_id(request_id)),
        invoked_arn: format!("{arn}{suffix}"),
    };
    let with_tail =
        kind == InvocationType::RequestResponse && text("x-amz-log-type").as_deref() == Some("Tail");
    Ok(Prepared { reference, fleet, event: Arc::new(event), with_tail })
}

/// The client context travels in base64 to the service and as JSON to the runtime.
fn decoded_context(base64: &str) -> String {
    let decoded = base64_simd::STANDARD.decode_to_vec(base64).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(|text| text.replace(['\n', '\r'], " ")).unwrap_or_default()
}

/// A trace id in the form of X-Ray's, unsampled, made from the request id.
fn trace_id(request_id: &str) -> String {
    let digits: String = request_id.chars().filter(char::is_ascii_hexdigit).collect();
    let (time, rest) = digits.split_at(digits.len().min(8));
    format!("Root=1-{time}-{rest};Parent={:.16};Sampled=0", digits)
}

async fn run_now(host: &Arc<Host>, prepared: Prepared) -> Result<Result<Answer, ApiError>, Break> {
    let Prepared { reference, fleet, event, with_tail } = prepared;
    let qualifier = reference.qualifier.as_deref().unwrap_or("$LATEST");
    let fault = host.fault(&reference.name, qualifier, &event.payload);
    let (mut mishap, mut broken) = (None, None);
    match fault {
        None => {}
        Some(FaultAction::Throttle { reason, retry_after_seconds }) => {
            fleet.account.throttled();
            return Ok(Err(ApiError::throttled(reason, retry_after_seconds)));
        }
        Some(FaultAction::Status { code, error_type }) => {
            return Ok(Err(ApiError::scripted(code, &error_type)));
        }
        Some(FaultAction::Delay { delay_ms }) => tokio::time::sleep(Duration::from_millis(delay_ms)).await,
        Some(FaultAction::ResetAfterSend { execute: false }) => return Err(Break::Reset),
        Some(FaultAction::ResetAfterSend { execute: true }) => broken = Some(Break::Reset),
        Some(FaultAction::LostResponse) => broken = Some(Break::Close),
        Some(FaultAction::Kill { after_ms }) => {
            mishap = Some(Mishap::Kill { after: Duration::from_millis(after_ms) })
        }
        Some(FaultAction::Oversize) => mishap = Some(Mishap::Oversize),
    }
    let executed = run_detached(host, &fleet, event, mishap, with_tail).await;
    match (broken, executed) {
        (Some(kind), Ok(_)) => Err(kind),
        (_, Err(reason)) => {
            fleet.account.throttled();
            Ok(Err(ApiError::throttled(reason, RETRY_AFTER_SECONDS)))
        }
        (None, Ok(execution)) => Ok(Ok(answer(&fleet, execution))),
    }
}

/// Admits and executes in a task of its own: a caller that leaves changes nothing for the function.
async fn run_detached(
    host: &Arc<Host>,
    fleet: &Arc<Fleet>,
    event: Arc<Event>,
    mishap: Option<Mishap>,
    with_tail: bool,
) -> Result<Execution, ThrottleReason> {
    let ticket = host.admit(&fleet.version.name)?;
    let (host, fleet) = (Arc::clone(host), Arc::clone(fleet));
    let task = tokio::spawn(async move {
        let execution = execute(&host, &fleet, event, mishap, with_tail).await;
        drop(ticket);
        execution
    });
    // The task ends early only when the emulator stops.
    task.await.unwrap_or(Err(ThrottleReason::ConcurrentInvocationLimitExceeded))
}

/// Accepts an asynchronous invocation.
fn run_later(host: &Arc<Host>, prepared: Prepared) -> Result<Answer, ApiError> {
    let Ok(permit) = host.events.try_acquire() else {
        return Err(ApiError::throttled(ThrottleReason::CallerRateLimitExceeded, RETRY_AFTER_SECONDS));
    };
    permit.forget();
    let answer = status_only(StatusCode::ACCEPTED, &prepared.fleet);
    let host = Arc::clone(host);
    tokio::spawn(async move {
        tokio::select! {
            () = run_event(&host, &prepared) => {}
            () = host.stop.cancelled() => {}
        }
        host.events.add_permits(1);
    });
    Ok(answer)
}

/// Runs an asynchronous invocation with the service's retries: function errors twice more, throttles for a while.
async fn run_event(host: &Arc<Host>, prepared: &Prepared) {
    let retry = Duration::from_millis(host.config.lifecycle.event_retry_ms);
    let (mut failures, mut throttles) = (0, 0);
    loop {
        match run_detached(host, &prepared.fleet, Arc::clone(&prepared.event), None, false).await {
            Ok(Execution { error: None, .. }) => return,
            Ok(_) => {
                failures += 1;
                if failures >= EVENT_ATTEMPTS {
                    return;
                }
                tokio::time::sleep(retry * failures).await;
            }
            Err(_) => {
                prepared.fleet.account.throttled();
                throttles += 1;
                if throttles >= THROTTLED_ATTEMPTS {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(RETRY_AFTER_SECONDS)).await;
            }
        }
    }
}

fn answer(fleet: &Fleet, execution: Execution) -> Answer {
    let mut answer = Response::new(Full::new(execution.body));
    let headers = answer.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set(headers, "x-amz-executed-version", &fleet.version.version);
    let kind = match execution.error {
        Some(FunctionError::Handled) => Some("Handled"),
        Some(FunctionError::Unhandled) => Some("Unhandled"),
        None => None,
    };
    if let Some(kind) = kind {
        headers.insert("x-amz-function-error", HeaderValue::from_static(kind));
    }
    if let Some(tail) = execution.tail {
        set(headers, "x-amz-log-result", &base64_simd::STANDARD.encode_to_string(tail));
    }
    answer
}

fn status_only(status: StatusCode, fleet: &Fleet) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    if status == StatusCode::NO_CONTENT {
        set(answer.headers_mut(), "x-amz-executed-version", &fleet.version.version);
    }
    answer
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
