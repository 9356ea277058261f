//! No-op invocations: a batch of no items makes Lambda start a sandbox, and the worker only reports.
//!
//! `k` sandboxes need `k` *overlapping* calls: one that ends early is reused by the next. Deliberately absent: when to warm.

use std::sync::Arc;
use std::time::Duration;

use workers_protocol::RequestHeader;

use crate::{Invocation, InvocationReply, InvokeError};

/// Whom to warm.
#[derive(Clone, Debug)]
pub struct WarmUp {
    /// Function name or ARN.
    pub function: Arc<str>,
    /// Alias or version.
    pub qualifier: Arc<str>,
    /// The call's header; its `process_count` makes the worker fork that many model processes.
    pub header: RequestHeader,
}

/// Payload of a batch of no items.
#[must_use]
pub fn warm_up_payload(header: &RequestHeader) -> Vec<u8> {
    header.encode(&[], &[])
}

impl WarmUp {
    /// Longest wait for an answer: INIT may take 10 s before Lambda starts it again.
    pub const LIMIT: Duration = Duration::from_secs(20);

    /// Of an alias that serves `model`, by name and version, in `process_count` processes.
    #[must_use]
    pub fn new(function: Arc<str>, qualifier: Arc<str>, model: (&str, &str), process_count: u32) -> Self {
        let header = RequestHeader {
            model: model.0.to_owned(),
            model_version: model.1.to_owned(),
            process_count,
            ..RequestHeader::default()
        };
        Self { function, qualifier, header }
    }

    /// Starts `count` overlapping no-op invocations and gives their results when all have ended.
    pub async fn run<S>(&self, invoker: &S, count: usize) -> Vec<Result<InvocationReply, InvokeError>>
    where
        S: tower::Service<Invocation, Response = InvocationReply, Error = InvokeError> + Clone,
        S::Future: Send + 'static,
    {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..count {
            let invocation = Invocation {
                function: self.function.clone(),
                qualifier: self.qualifier.clone(),
                payload: warm_up_payload(&self.header),
            };
            calls.spawn(invoker.clone().call(invocation));
        }
        calls.join_all().await
    }
}
