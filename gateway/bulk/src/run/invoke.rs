//! One invocation, whoever does it.

use std::future::Future;

use gateway_invoker::{Invocation, InvocationReply, InvokeError};
use tower_service::Service;

/// Invokes Lambda functions. Implemented for every such [`tower_service::Service`], above all [`gateway_invoker::LambdaInvoker`].
pub trait Invoke: Clone + Send + Sync + 'static {
    /// One invocation.
    fn invoke(
        self,
        invocation: Invocation,
    ) -> impl Future<Output = Result<InvocationReply, InvokeError>> + Send;
}

impl<S> Invoke for S
where
    S: Service<Invocation, Response = InvocationReply, Error = InvokeError, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    async fn invoke(mut self, invocation: Invocation) -> Result<InvocationReply, InvokeError> {
        std::future::poll_fn(|context| self.poll_ready(context)).await?;
        self.call(invocation).await
    }
}
