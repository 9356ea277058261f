//! The control loop: window statistics and observations in, plans out.
//!
//! One supervised task owns a tuner for each model. It closes windows, hands observations over, puts plans into force after warming
//! the aliases that they need, keeps learned state on the disk, and shows what it knows to the admin listener. Serving never waits for
//! it and never depends on it: whatever happens here, the plan in force stays. Deliberately absent: decisions (the tuner's) and
//! control-plane writes to Lambda (a missing alias is made by `penstock provision`).

mod aliases;
mod calls;
mod claim;
mod decide;
mod events;
mod handle;
mod history;
mod model;
mod plans;
mod point;
mod routes;
mod saving;
mod shared;
mod state_copy;
mod store;
mod supervisor;
mod task;
mod tuners;

pub(crate) use handle::ControlHandle;
pub(crate) use routes::router;
pub(crate) use supervisor::{Parts, spawn};

#[cfg(test)]
mod tests;
