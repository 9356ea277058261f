//! Whole jobs against a function in this process: every line once, whatever goes wrong.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod bounds;
mod durable;
mod elsewhere;
mod faults;
mod formats;
mod killed;
mod learning;
mod machine;
mod postgres;
mod support;
