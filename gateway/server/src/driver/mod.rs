//! The driver: one task that owns the engine and the in-flight table, fed through a cheap handle.
//!
//! A request costs one channel send, one oneshot and one table entry; batches, not requests, become tasks. After each wake-up
//! the driver drains what the engine has to say, then sleeps until the engine's time-out. Payload work (base64, checking
//! answers) happens in the batches' own tasks. Deliberately absent: decisions (the engine's) and HTTP.

mod batch;
mod call;
mod clock;
mod command;
mod flight;
mod handle;
mod latency;
mod lesson;
mod model;
mod observed;
mod scatter;
mod supervisor;
mod tally;
mod task;
mod window;

pub use handle::{DriverHandle, DriverLimits};
pub use model::{ModelRuntime, ModelSet, ResponseEstimate};
pub use observed::{BatchFacts, ObservationQueue, Observed};
pub use supervisor::{Liveness, spawn};
pub use window::ClosedWindow;

/// What the driver needs of an invoker: a cloneable tower service from invocations to replies.
pub trait Invoke:
    tower::Service<
        gateway_invoker::Invocation,
        Response = gateway_invoker::InvocationReply,
        Error = gateway_invoker::InvokeError,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Invoke for S where
    S: tower::Service<
            gateway_invoker::Invocation,
            Response = gateway_invoker::InvocationReply,
            Error = gateway_invoker::InvokeError,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

#[cfg(test)]
mod tests;
