//! A model of Lambda: how long a batch takes, and what is billed for it.
//!
//! Deliberately absent so far: cold starts, keep-alive, ramp limits, throttling.

mod credit;
mod function;
mod replay;
mod service;

pub use credit::{CpuWork, CreditModel, QUOTA_PERIOD_SECONDS, visible_cpus};
pub use function::{BatchShape, FunctionModel};
pub use replay::{Invocation, Replay};
pub use service::{ServiceTable, billed_seconds};
