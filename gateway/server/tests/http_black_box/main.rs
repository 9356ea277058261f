//! The HTTP side over real sockets, with a stand-in that gives tensors back instead of a driver.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test binary has no readers outside")]

mod bad_input;
mod connections;
mod endpoints;
mod infer;
mod openai;
mod support;
