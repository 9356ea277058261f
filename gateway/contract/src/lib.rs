//! The values that the planes and the shell exchange: the serving plan, prices, ids, time and unit newtypes.
//!
//! Deliberately absent: behaviour beyond validation and arithmetic on these values; no clock, no I/O, no randomness.
#![forbid(unsafe_code)]

mod failure;
mod ids;
mod observation;
mod plan;
mod prices;
mod time;
mod units;

pub use failure::ItemFailure;
pub use ids::{BatchId, ModelId, PlanRevision, RequestId};
pub use observation::{BinStats, ServiceObservation, ServiceOutcome, WindowStats};
pub use plan::{
    Canary, EnvironmentPolicy, HoldOut, PackingPolicy, PlanError, RetryLimits, Rung, ServiceTimeTable,
    ServingPlan,
};
pub use prices::{Architecture, ArchitecturePrice, PriceTable, PriceTier};
pub use time::Timestamp;
pub use units::Mebibytes;
