//! A model of Lambda: how long a batch takes, and what is billed for it.
//!
//! Deliberately absent so far: cold starts, keep-alive, ramp limits, throttling.

mod credit;
mod service;

pub use credit::CreditModel;
pub use service::{ServiceTable, billed_seconds};
