//! The shell: sockets, time, tasks, metrics and Lambda around the pure engine.
//!
//! It asks, obeys and reports; what to batch, retry or shed is decided in `gateway-policy`.
#![forbid(unsafe_code)]

pub mod config;
mod console;
mod control;
pub mod driver;
pub mod http;
pub mod inference;
pub mod lifecycle;
pub mod registry;
pub mod statistics;
pub mod telemetry;
