//! Whoever runs many chunks on the job's behalf: an execution of a state machine, named by the job.

use std::future::Future;
use std::pin::Pin;

use gateway_invoker::{Execution, StateMachine, StateMachineError};

/// An answer that is awaited.
pub type ExecutionFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StateMachineError>> + Send + 'a>>;

/// Executions of one state machine. Implemented for [`StateMachine`].
pub trait Executions: Send + Sync + 'static {
    /// Starts one, unless there is one of this name.
    fn start<'a>(&'a self, name: &'a str, input: &'a str) -> ExecutionFuture<'a, ()>;
    /// Looks at one; `None` if there is none of this name.
    fn look<'a>(&'a self, name: &'a str) -> ExecutionFuture<'a, Option<Execution>>;
    /// Stops one, if it runs.
    fn stop<'a>(&'a self, name: &'a str, cause: &'a str) -> ExecutionFuture<'a, ()>;
}

impl Executions for StateMachine {
    fn start<'a>(&'a self, name: &'a str, input: &'a str) -> ExecutionFuture<'a, ()> {
        Box::pin(self.start(name, input))
    }

    fn look<'a>(&'a self, name: &'a str) -> ExecutionFuture<'a, Option<Execution>> {
        Box::pin(self.execution_of(name))
    }

    fn stop<'a>(&'a self, name: &'a str, cause: &'a str) -> ExecutionFuture<'a, ()> {
        Box::pin(self.stop(name, cause))
    }
}
