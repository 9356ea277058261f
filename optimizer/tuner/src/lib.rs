//! Joins change-points and surrogates: cost and latency by formula, when to explore, hold and roll back.
//!
//! The shell feeds a [`Tuner`] observations and windows and puts its plans into force; the simulator drives the same code. Deliberately
//! absent: clocks, randomness without a seed, files, logs, and any knowledge of HTTP or AWS.
#![forbid(unsafe_code)]

mod arrivals;
pub mod bulk;
pub mod environments;
pub mod event;
pub mod formula;
pub mod report;
mod search;
pub mod service;
pub mod settings;
pub mod surface;
mod tuner;
pub mod warm_up;

pub use event::{Phase, TunerAction, TunerEvent};
pub use report::TunerReport;
pub use settings::{PolicyKind, TunerSettings};
pub use tuner::{Command, Economics, Refit, Refitted, StateError, Tuner, TunerState};
