//! The Runtime API of one sandbox, on its own loopback port: `next`, `response` (buffered or streamed, the latter joined),
//! `error`, `init/error`. The Extensions, Telemetry and Logs APIs are deliberately absent and answer 404.

use super::{Ending, FunctionError, Sandbox};
use crate::http_io::{Answer, Break, Collected, collect, json, serve_connection};
use crate::report::MAXIMUM_RESPONSE_BYTES;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Trailer and header with which a runtime says what kind of error it reports.
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

/// Serves `sandbox` until the task is aborted.
pub(super) async fn serve(sandbox: Arc<Sandbox>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let sandbox = Arc::clone(&sandbox);
        connections.spawn(async move {
            serve_connection(stream, |request| handle(Arc::clone(&sandbox), request)).await;
        });
    }
}

async fn handle(sandbox: Arc<Sandbox>, request: Request<Incoming>) -> Result<Answer, Break> {
    let path = request.uri().path().to_owned();
    let Some(call) = path.strip_prefix("/2018-06-01/runtime/") else {
        return Ok(refusal(StatusCode::NOT_FOUND, "NotFound", "this part of the API is not emulated"));
    };
    match (request.method(), call) {
        (&Method::GET, "invocation/next") => Ok(next(&sandbox).await),
        (&Method::POST, "init/error") => {
            if let Ok(Collected::Whole(body, _)) = collect(request.into_body(), MAXIMUM_RESPONSE_BYTES).await
            {
                sandbox.init_failed(body);
            }
            Ok(accepted())
        }
        (&Method::POST, call) => {
            let mut parts = call.split('/');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some("invocation"), Some(id), Some("response"), None) => {
                    Ok(answer(&sandbox, id, request, false).await)
                }
                (Some("invocation"), Some(id), Some("error"), None) => {
                    Ok(answer(&sandbox, id, request, true).await)
                }
                _ => Ok(refusal(StatusCode::NOT_FOUND, "NotFound", "unknown path")),
            }
        }
        _ => Ok(refusal(StatusCode::NOT_FOUND, "NotFound", "unknown path")),
    }
}

async fn next(sandbox: &Arc<Sandbox>) -> Answer {
    let delivery = sandbox.next().await;
    let event = delivery.event;
    let mut answer = Response::new(Full::new(event.payload.clone()));
    let headers = answer.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("content-type", "application/json");
    set("lambda-runtime-aws-request-id", &event.request_id);
    set("lambda-runtime-deadline-ms", &delivery.deadline_ms.to_string());
    set("lambda-runtime-invoked-function-arn", &event.invoked_arn);
    set("lambda-runtime-trace-id", &event.trace_id);
    if let Some(context) = &event.client_context {
        set("lambda-runtime-client-context", context);
    }
    answer
}

async fn answer(sandbox: &Sandbox, id: &str, request: Request<Incoming>, is_error: bool) -> Answer {
    let reported = is_error.then(|| error_kind(request.headers()));
    let collected = match collect(request.into_body(), MAXIMUM_RESPONSE_BYTES).await {
        Ok(collected) => collected,
        // The runtime broke off in the middle of its answer: its exit will tell.
        Err(_) => {
            return refusal(StatusCode::BAD_REQUEST, "TruncatedResponse", "the response was cut off");
        }
    };
    match collected {
        Collected::Whole(body, trailers) => {
            // A streamed answer reports its error after the fact.
            let late = trailers
                .filter(|trailers| trailers.contains_key(ERROR_TYPE))
                .map(|_| FunctionError::Unhandled);
            let error = reported.or(late);
            match sandbox.answer(id, |duration| Ending::Answered { body, error, duration }) {
                true => accepted(),
                false => refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
            }
        }
        Collected::TooLarge { bytes } => {
            sandbox.answer(id, |duration| Ending::TooLarge { bytes, duration });
            let message = format!("Exceeded maximum allowed payload size ({MAXIMUM_RESPONSE_BYTES} bytes).");
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
        }
    }
}

fn error_kind(headers: &HeaderMap) -> FunctionError {
    match headers.get(ERROR_TYPE).map(HeaderValue::as_bytes) {
        Some(b"Handled") => FunctionError::Handled,
        _ => FunctionError::Unhandled,
    }
}

fn accepted() -> Answer {
    json(StatusCode::ACCEPTED, "{\"status\":\"OK\"}\n")
}

fn refusal(status: StatusCode, error_type: &str, message: &str) -> Answer {
    json(status, serde_json::json!({ "errorMessage": message, "errorType": error_type }).to_string())
}
