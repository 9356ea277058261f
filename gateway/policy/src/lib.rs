//! The data plane: one sans-I/O engine that decides per request and per batch.
//!
//! It knows ids, sizes and deadlines. Deliberately absent: payloads, clocks, randomness, sockets, logs, metrics.
#![forbid(unsafe_code)]

mod engine;
mod types;

pub use engine::Engine;
pub use types::{
    BatchOutcome, CloseReason, Dispatch, Event, ItemBytes, Part, Rejection, RequestMeta, RequestOutcome, RetryReason,
    TooLarge, WakeReason,
};
