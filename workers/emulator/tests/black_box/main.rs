//! Black-box tests: the emulator over HTTP with a real bootstrap.

mod control;
mod execution;
mod faults;
mod initialisation;
mod limits;
mod metering;
mod support;
