//! The second shell: the production planes in virtual time against a model of Lambda.
//!
//! [`world`] drives `gateway_policy::Engine` itself, not a copy; [`arrivals`] make the requests, [`lambda`] runs and bills the batches.
//! One seed, no clock, deterministic ties: equal inputs give equal measurements.
//! Deliberately absent so far: several models and tenants, baselines, an oracle.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod bounds;
pub mod calibration;
pub mod closed_loop;
pub mod controllers;
pub mod deployment;
pub mod invariants;
pub mod lambda;
pub mod profile;
pub mod random;
pub mod report;
pub mod study;
pub mod scenario;
pub mod world;
