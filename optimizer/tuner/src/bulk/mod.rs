//! How to cut and run a bulk job: items per chunk, processes, memory and parallel invocations, with the time and dollars that follow.
//!
//! Problem: a data set of N items is to go through a model for a deadline, for a budget, or for as little as is sensible. Small chunks
//! spread over many environments end early, but every new environment bills its INIT, and every chunk its fee and fixed work.
//!
//! ```text
//! dollars = chunks · (E[billed(chunk)] · price + fee) + environments · INIT · price
//! seconds = INIT + time in which `parallelism` workers, each taking the next chunk when it is done, come to the end
//! ```
//!
//! | file | what it gives |
//! |---|---|
//! | `knowledge` | [`ServiceKnowledge`]: service time, INIT and memory floor by operating point |
//! | `profile` | [`Profile`]: that knowledge from a model's profile |
//! | `learned` | [`Learned`]: that knowledge from invocations: the posterior that the tuner uses |
//! | `candidates`, `candidate` | places and cuts that are worth a look; one of them with its dollars |
//! | `makespan` | the time of a cut, ramp and spread of the chunks included |
//! | `choose` | [`choose`], [`estimate`] |
//!
//! Reuse of environments is a decision here: `parallelism` bounds the environments that ever start, so a plan with fewer workers than chunks runs
//! several chunks in each and pays their INIT once. Deliberately absent: reading and writing the data, the running of the job
//! (`gateway/bulk`), and live traffic beside it (`gateway_policy::share`).

mod candidate;
mod candidates;
mod choose;
mod error;
mod knowledge;
mod learned;
mod makespan;
mod plan;
pub mod profile;
#[cfg(test)]
mod tests;

pub use choose::{choose, estimate};
pub use error::BulkError;
pub use knowledge::{ServiceKnowledge, Work};
pub use learned::Learned;
pub use plan::{BulkBounds, BulkChoice, BulkCut, BulkJob, BulkPlan, Interval, Wish};
pub use profile::Profile;
