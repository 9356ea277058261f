//! The shell: sockets, time, tasks, metrics and Lambda around the pure engine.
//!
//! It asks, obeys and reports; what to batch, retry or shed is decided in `gateway-policy`.
#![forbid(unsafe_code)]

pub mod inference;
pub mod registry;
pub mod statistics;
