//! Black-box tests: the emulator over HTTP with a real bootstrap.

#![expect(clippy::unwrap_used, reason = "also the helpers of tests fail by panicking")]

mod control;
mod execution;
mod faults;
mod initialisation;
mod limits;
mod metering;
mod support;
