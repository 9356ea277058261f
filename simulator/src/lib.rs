//! The second shell: the production planes in virtual time against a model of Lambda.
//!
//! [`deployment`] drives `gateway_policy::Engine` and, behind a controller, `optimizer_tuner::Tuner` themselves, not copies; [`arrivals`] make the
//! requests, [`lambda`] runs and bills the batches. One seed, no clock, deterministic ties: equal inputs give equal logs.
//! Deliberately absent: clocks, threads, files and sockets; benches and the command line have those.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod bounds;
pub mod bulk;
pub mod calibration;
pub mod closed_loop;
pub mod controllers;
pub mod deployment;
pub mod invariants;
pub mod lambda;
pub mod profile;
pub mod random;
pub mod report;
pub mod scenario;
pub mod study;
pub mod world;
