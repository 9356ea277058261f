//! Situations with bands: a load, an account, faults; and within which bounds cost, latency and decisions must stay.
//!
//! A controller is tested by situations, not by exact values. A scenario is a TOML file ([`Scenario::from_toml`]); a run of it with one seed ([`run`])
//! gives a measured value for each of its bands, and every rule of [`crate::invariants`] must hold on the way.
//! Cost is compared with a *yardstick*: the best plan of each phase of the load by the production formula, told the truth about service times
//! and arrivals, with all environments warm ([`yardstick`]).
//! Deliberately absent: files. The caller reads them.

mod bands;
mod build;
mod error;
mod file;
mod load;
mod observe;
mod yardstick;

pub use bands::{Band, Measure, Measured, run};
pub use error::ScenarioError;
pub use file::Scenario;
pub use load::{Phase, Phases};
pub use yardstick::yardstick;
