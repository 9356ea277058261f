//! The data plane: one sans-I/O engine that decides per request and per batch.
//!
//! It knows ids, sizes and deadlines. Deliberately absent: payloads, clocks, randomness, sockets, logs, metrics.
#![forbid(unsafe_code)]

mod batch;
mod breaker;
mod closing;
mod compiled_plan;
mod engine;
mod environments;
mod id_table;
mod model;
mod ordered_queue;
mod packing;
mod request;
mod retry;
pub mod share;
mod shared;
mod size_correction;
mod types;
mod waiting;
mod window;

pub use engine::Engine;
pub use types::{
    BatchOutcome, CallPurpose, CloseReason, Dispatch, EnvironmentCall, Event, ItemBytes, Part, Rejection,
    RequestMeta, RequestOutcome, RetryReason, TooLarge, WakeReason,
};
