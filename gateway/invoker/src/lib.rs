//! The one way to Lambda: `aws-sdk-lambda` as a [`tower::Service`], its errors sorted into what the engine must know,
//! REPORT lines read.
//!
//! Deliberately absent: retries of invocations (the SDK's are off; the engine decides), batching, and any knowledge of tensors.
//! [`provision`] stands apart: it changes functions, and nothing on the way of a request uses it. So does [`StateMachine`], by which
//! AWS Step Functions invokes a function many times on a bulk job's behalf.
#![forbid(unsafe_code)]

mod classify;
mod config;
mod error;
pub mod inspect;
pub mod provision;
mod report;
mod service;
mod state_machine;
mod warm_up;

pub use config::{Credentials, InvokerConfig};
pub use error::{InvokeError, RefusedCause, ThrottleReason, UnknownCause};
pub use report::Metering;
pub use service::{Invocation, InvocationReply, LambdaInvoker};
pub use state_machine::{Execution, StateMachine, StateMachineError, Status};
pub use warm_up::{WarmUp, warm_up_payload};
pub use workers_protocol::PROTOCOL_VERSION;
