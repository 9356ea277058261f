//! A model of Lambda: how long a batch takes, and what is billed for it.
//!
//! Who may run and on which environment is in `limits` and `environments`; what a batch weighs for its worker in `shard`.
//! Deliberately absent: the order of events. [`crate::deployment`] has it.

mod credit;
mod environments;
mod function;
mod limits;
mod replay;
mod service;
mod shard;

pub use credit::{CpuWork, CreditModel, QUOTA_PERIOD_SECONDS, visible_cpus};
pub use environments::{Environments, KeepAlive};
pub use function::{BatchShape, FunctionModel};
pub use limits::{LimitSettings, Limits, ThrottleReason};
pub use replay::{Invocation, Replay};
pub use service::{ServiceTable, billed_seconds};
pub use shard::Sharder;
