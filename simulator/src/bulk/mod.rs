//! Bulk jobs in virtual time: alone ([`job`]), and beside live traffic on the same account ([`beside`]).
//!
//! What is decided is production code: the cut by `optimizer_tuner::bulk`, the share by `gateway_policy::share`, live batches by
//! `gateway_policy::Engine`. Deliberately absent: reading and writing the data, faults, and how the runner keeps its state.

pub mod beside;
pub mod job;
pub mod plot;
pub mod reviews;

pub use beside::{Beside, BesideReport, Gate};
pub use job::{Cut, JobConfig, JobReport};
