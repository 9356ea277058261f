//! Measures a deployed function over memory × items × processes × concurrency, through the real Lambda API.
//!
//! An [`Experiment`] is a file; a [`session`] runs what its [`Journal`] lacks, in versions that it publishes and removes; every invocation becomes a
//! row ([`export`]). [`sweep`] is the older and smaller way: one invocation at a time at aliases that are there already, a JSON object a line.
//! Deliberately absent: making functions, fitting laws, plots and what is best; the command line has those from the simulator.
#![forbid(unsafe_code)]

mod data;
mod estimate;
mod experiment;
pub mod export;
mod input;
mod invocation;
mod journal;
mod lambda;
mod measure;
mod random;
mod record;
mod report_line;
pub mod session;
mod stopping;
mod sweep;
mod texts;
mod versions;

pub use data::DataError;
pub use estimate::{Estimate, Prediction, Prices};
pub use experiment::{
    Budget, Data, Expected, Experiment, ExperimentError, Machine, Model, Point, PointError, Runs,
};
pub use input::{InputError, Inputs};
pub use invocation::{Invocation, Run, RunKind};
pub use journal::{Journal, JournalError};
pub use lambda::{Connection, Lambda, LambdaError, Reply};
pub use record::Record;
pub use report_line::Billing;
pub use stopping::relative_width;
pub use sweep::{GivenUp, Operating, Progress, Summary, SweepError, SweepSettings, sweep};
pub use texts::Texts;
pub use versions::{Original, VersionError, Versions};
