//! Every way in which Lambda answers or does not, over a raw socket and the real SDK: what is sorted into what.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway_contract::Mebibytes;
use gateway_invoker::{
    Credentials, Invocation, InvocationReply, InvokeError, InvokerConfig, LambdaInvoker, RefusedCause,
    ThrottleReason, UnknownCause, WarmUp,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use workers_protocol::{LAMBDA_PAYLOAD_LIMIT_BYTES, Request, RequestHeader};

/// What the socket does after it has read a request.
#[derive(Clone)]
enum Act {
    Answer(String),
    Reset,
    Silence,
}

struct Endpoint {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    last: Arc<std::sync::Mutex<Vec<u8>>>,
}

async fn endpoint(act: Act) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint =
        Endpoint { address: listener.local_addr().unwrap(), requests: Arc::default(), last: Arc::default() };
    let (requests, last) = (endpoint.requests.clone(), endpoint.last.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (act, requests, last) = (act.clone(), requests.clone(), last.clone());
            tokio::spawn(async move {
                while let Some(message) = read_request(&mut stream).await {
                    requests.fetch_add(1, Ordering::SeqCst);
                    *last.lock().unwrap() = message;
                    match &act {
                        Act::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                        Act::Reset => {
                            let _ = stream.set_zero_linger();
                            return;
                        }
                        Act::Silence => std::future::pending().await,
                    }
                }
            });
        }
    });
    endpoint
}

async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        if let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&data[..end]).to_ascii_lowercase();
            let length = head
                .split_once("content-length:")
                .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
            if data.len() >= end + 4 + length.unwrap_or(0_usize) {
                return Some(data);
            }
        }
        let read = stream.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
        data.extend_from_slice(&buffer[..read]);
    }
}

fn answer(status: u16, headers: &str, body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
}

async fn invoker(address: SocketAddr) -> LambdaInvoker {
    let config = InvokerConfig {
        endpoint_url: Some(format!("http://{address}")),
        credentials: Credentials::StaticTest,
        connect_timeout: Duration::from_millis(500),
        invoke_timeout: Duration::from_millis(800),
        ..InvokerConfig::default()
    };
    LambdaInvoker::new(&config).await
}

fn invocation() -> Invocation {
    Invocation { function: "f".into(), qualifier: "mem-512".into(), payload: b"{}".to_vec() }
}

/// One invocation against an endpoint that does `act`; checks that the SDK did not retry.
async fn outcome(act: Act) -> Result<InvocationReply, InvokeError> {
    let endpoint = endpoint(act).await;
    let result = invoker(endpoint.address).await.oneshot(invocation()).await;
    assert_eq!(endpoint.requests.load(Ordering::SeqCst), 1, "the SDK's own retries are off");
    result
}

#[tokio::test]
async fn an_answer_carries_payload_version_and_what_is_billed() {
    let report = "REPORT RequestId: 1\tDuration: 3.1 ms\tBilled Duration: 4 ms\tMemory Size: 512 MB\tMax Memory Used: 40 MB\t";
    let tail = base64_simd::STANDARD.encode_to_string(report);
    let reply = outcome(answer(
        200,
        &format!("x-amz-executed-version: 7\r\nx-amz-log-result: {tail}\r\n"),
        "{\"a\":1}",
    ))
    .await
    .unwrap();
    assert_eq!(&reply.payload[..], b"{\"a\":1}");
    assert_eq!(reply.executed_version.as_deref(), Some("7"));
    assert_eq!((reply.metering.billed, reply.metering.is_estimate), (Duration::from_millis(4), false));
    assert_eq!(reply.metering.max_memory_used, Some(Mebibytes(40)));
}

#[tokio::test]
async fn without_a_report_the_bill_is_a_flagged_estimate() {
    let reply = outcome(answer(200, "", "{}")).await.unwrap();
    assert!(reply.metering.is_estimate && reply.metering.billed >= Duration::from_millis(1));
}

#[tokio::test]
async fn the_request_names_function_alias_and_log_tail() {
    let endpoint = endpoint(answer(200, "", "{}")).await;
    invoker(endpoint.address).await.oneshot(invocation()).await.unwrap();
    let sent = String::from_utf8_lossy(&endpoint.last.lock().unwrap()).to_ascii_lowercase();
    assert!(sent.starts_with("post /2015-03-31/functions/f/invocations?qualifier=mem-512 "), "{sent}");
    assert!(sent.contains("x-amz-log-type: tail"), "{sent}");
}

#[tokio::test]
async fn throttles_carry_reason_and_retry_after() {
    let cases = [
        ("ConcurrentInvocationLimitExceeded", ThrottleReason::Concurrency),
        ("ReservedFunctionConcurrentInvocationLimitExceeded", ThrottleReason::ReservedConcurrency),
        ("FunctionInvocationRateLimitExceeded", ThrottleReason::FunctionRate),
        ("CallerRateLimitExceeded", ThrottleReason::CallerRate),
        ("SomethingNewer", ThrottleReason::Other),
    ];
    for (name, reason) in cases {
        let body = format!("{{\"Reason\":\"{name}\",\"message\":\"Rate Exceeded.\"}}");
        let headers = "x-amzn-errortype: TooManyRequestsException\r\nretry-after: 2\r\n";
        let error = outcome(answer(429, headers, &body)).await.unwrap_err();
        assert_eq!(error, InvokeError::Throttled { reason, retry_after: Some(Duration::from_secs(2)) });
    }
    let bare = outcome(answer(429, "", "{}")).await.unwrap_err();
    assert_eq!(bare, InvokeError::Throttled { reason: ThrottleReason::Other, retry_after: None });
}

#[tokio::test]
async fn function_errors_are_sorted_by_their_type() {
    let function = |kind: &str| {
        let body = format!("{{\"errorType\":\"{kind}\",\"errorMessage\":\"m\"}}");
        outcome(answer(200, "x-amz-function-error: Unhandled\r\n", &body))
    };
    for kind in ["Runtime.ExitError", "Sandbox.Timedout", "Anything"] {
        let error = function(kind).await.unwrap_err();
        assert!(
            matches!(&error, InvokeError::Function { error_type, .. } if error_type == kind),
            "{error:?}"
        );
        assert!(error.metering().is_some(), "it is billed");
    }
    for kind in ["Function.ResponseSizeTooLarge", "ResponseTooLarge"] {
        assert!(matches!(function(kind).await.unwrap_err(), InvokeError::ResponseTooLarge { .. }));
    }
    for (kind, expected) in [
        ("ProtocolVersionMismatch", RefusedCause::ProtocolMismatch),
        ("ModelMismatch", RefusedCause::ModelMismatch),
    ] {
        let error = function(kind).await.unwrap_err();
        assert!(
            matches!(error, InvokeError::Refused { cause, .. } if cause == expected && cause.is_permanent())
        );
    }
}

#[tokio::test]
async fn requests_that_are_too_large_are_known_here_and_there() {
    let there =
        outcome(answer(413, "x-amzn-errortype: RequestTooLargeException\r\n", "{}")).await.unwrap_err();
    assert_eq!(there, InvokeError::RequestTooLarge { bytes: 2 });
    let endpoint = endpoint(answer(200, "", "{}")).await;
    let payload = vec![b' '; LAMBDA_PAYLOAD_LIMIT_BYTES + 1];
    let here =
        invoker(endpoint.address).await.oneshot(Invocation { payload, ..invocation() }).await.unwrap_err();
    assert_eq!(here, InvokeError::RequestTooLarge { bytes: LAMBDA_PAYLOAD_LIMIT_BYTES + 1 });
    assert_eq!(endpoint.requests.load(Ordering::SeqCst), 0, "nothing was sent");
}

#[tokio::test]
async fn whatever_may_have_run_is_unknown() {
    let cases = [
        (answer(500, "x-amzn-errortype: ServiceException\r\n", "{}"), UnknownCause::ServerError),
        (answer(502, "", "<html>"), UnknownCause::ServerError),
        (answer(503, "", ""), UnknownCause::ServerError),
        (answer(504, "", ""), UnknownCause::ServerError),
        (Act::Reset, UnknownCause::ConnectionLost),
        (Act::Silence, UnknownCause::Timeout),
    ];
    for (act, expected) in cases {
        let error = outcome(act).await.unwrap_err();
        assert_eq!(error, InvokeError::Unknown { cause: expected });
    }
}

#[tokio::test]
async fn refusals_name_their_cause() {
    let cases = [
        (403, "AccessDeniedException", RefusedCause::AccessDenied, true),
        (404, "ResourceNotFoundException", RefusedCause::NotFound, true),
        (403, "ExpiredTokenException", RefusedCause::ExpiredToken, false),
        (403, "InvalidSignatureException", RefusedCause::BadSignature, true),
        (502, "KMSAccessDeniedException", RefusedCause::Misconfigured, true),
        (400, "InvalidParameterValueException", RefusedCause::Other, true),
    ];
    for (status, code, cause, is_permanent) in cases {
        let headers = format!("x-amzn-errortype: {code}\r\n");
        let error = outcome(answer(status, &headers, "{\"message\":\"why\"}")).await.unwrap_err();
        assert_eq!(error, InvokeError::Refused { cause, message: "why".to_owned() });
        assert_eq!(cause.is_permanent(), is_permanent, "{code}");
    }
}

#[tokio::test]
async fn no_connection_means_not_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = invoker(address).await.oneshot(invocation()).await.unwrap_err();
    assert!(matches!(error, InvokeError::Unreachable { .. }), "{error:?}");
    let not_ready =
        outcome(answer(502, "x-amzn-errortype: ResourceNotReadyException\r\n", "{}")).await.unwrap_err();
    assert!(matches!(not_ready, InvokeError::Unreachable { .. }), "{not_ready:?}");
}

#[tokio::test]
async fn warm_ups_are_batches_of_no_items_that_overlap() {
    let endpoint = endpoint(answer(200, "", "{}")).await;
    let invoker = invoker(endpoint.address).await;
    let header = RequestHeader {
        model: "m".to_owned(),
        model_version: "1".to_owned(),
        process_count: 3,
        ..RequestHeader::default()
    };
    let warm_up = WarmUp { function: "f".into(), qualifier: "mem-512".into(), header };
    let results = warm_up.run(&invoker, 4).await;
    assert_eq!((results.len(), endpoint.requests.load(Ordering::SeqCst)), (4, 4));
    let sent = endpoint.last.lock().unwrap().clone();
    let body = sent.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let request = Request::decode(&sent[body..]).unwrap();
    assert!(request.ids.is_empty() && request.header.process_count == 3);
}
