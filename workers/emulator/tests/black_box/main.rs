//! Black-box tests: the emulator over HTTP with a real bootstrap.

mod execution;
mod support;
