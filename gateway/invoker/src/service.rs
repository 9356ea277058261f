//! One invocation as a [`tower::Service`] call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::operation::{RequestId as _, invoke::InvokeOutput};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::LogType;
use bytes::Bytes;
use workers_protocol::LAMBDA_PAYLOAD_LIMIT_BYTES;

use crate::classify::{function_error, sdk_error};
use crate::{InvokeError, InvokerConfig, Metering};

/// What to invoke, and with what.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Function name or ARN.
    pub function: Arc<str>,
    /// Alias or version; empty: `$LATEST`.
    pub qualifier: Arc<str>,
    /// The JSON payload, at most [`LAMBDA_PAYLOAD_LIMIT_BYTES`].
    pub payload: Vec<u8>,
}

/// What came back from a function that succeeded.
#[derive(Clone, Debug, PartialEq)]
pub struct InvocationReply {
    /// The JSON payload.
    pub payload: Bytes,
    /// Version that ran, if Lambda named it.
    pub executed_version: Option<String>,
    /// Lambda's name of the invocation, to find its log by.
    pub request_id: Option<String>,
    /// What it is billed.
    pub metering: Metering,
}

/// Invokes Lambda functions. Cheap to clone: clones share the connections.
#[derive(Clone, Debug)]
pub struct LambdaInvoker {
    client: Client,
    tail_logs: bool,
}

impl LambdaInvoker {
    /// Builds the client; opens no connection yet.
    pub async fn new(config: &InvokerConfig) -> Self {
        Self { client: config.client().await, tail_logs: config.tail_logs }
    }

    async fn invoke(self, invocation: Invocation) -> Result<InvocationReply, InvokeError> {
        let bytes = invocation.payload.len();
        if bytes > LAMBDA_PAYLOAD_LIMIT_BYTES {
            return Err(InvokeError::RequestTooLarge { bytes });
        }
        let mut call =
            self.client.invoke().function_name(&*invocation.function).payload(Blob::new(invocation.payload));
        if !invocation.qualifier.is_empty() {
            call = call.qualifier(&*invocation.qualifier);
        }
        if self.tail_logs {
            call = call.log_type(LogType::Tail);
        }
        let start = Instant::now();
        let output = call.send().await.map_err(|error| sdk_error(&error, bytes))?;
        reply(output, start.elapsed())
    }
}

fn reply(output: InvokeOutput, wall: Duration) -> Result<InvocationReply, InvokeError> {
    let metering =
        output.log_result().and_then(metering_from_tail).unwrap_or_else(|| Metering::estimate(wall));
    let request_id = output.request_id().map(str::to_owned);
    let payload = output.payload.map(Blob::into_inner).unwrap_or_default();
    if output.function_error.is_some() {
        return Err(function_error(&payload, metering, request_id));
    }
    let executed_version = output.executed_version;
    Ok(InvocationReply { payload: payload.into(), executed_version, request_id, metering })
}

fn metering_from_tail(base64: &str) -> Option<Metering> {
    let tail = base64_simd::STANDARD.decode_to_vec(base64).ok()?;
    Metering::from_log_tail(&String::from_utf8_lossy(&tail))
}

impl tower::Service<Invocation> for LambdaInvoker {
    type Response = InvocationReply;
    type Error = InvokeError;
    type Future = Pin<Box<dyn Future<Output = Result<InvocationReply, InvokeError>> + Send>>;

    /// Always ready: the engine's in-flight window is the bound.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        Box::pin(self.clone().invoke(invocation))
    }
}
