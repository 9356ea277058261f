//! No-op invocations: a batch of no items makes Lambda start a sandbox, and the worker only reports.
//!
//! `k` sandboxes need `k` *overlapping* calls: one that ends early is reused by the next. Deliberately absent: when to warm.

use workers_protocol::RequestHeader;

use crate::{Invocation, InvocationReply, InvokeError};

/// Whom to warm.
#[derive(Clone, Debug)]
pub struct WarmUp {
    /// Function name or ARN.
    pub function: std::sync::Arc<str>,
    /// Alias or version.
    pub qualifier: std::sync::Arc<str>,
    /// The call's header; its `process_count` makes the worker fork that many model processes.
    pub header: RequestHeader,
}

/// Payload of a batch of no items.
#[must_use]
pub fn warm_up_payload(header: &RequestHeader) -> Vec<u8> {
    header.encode(&[], &[])
}

impl WarmUp {
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
