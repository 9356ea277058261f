//! What no policy can beat, and what a policy could do that was told the truth.
//!
//! *Floor:* the CPU work of the items at the price of a vCPU-second ([`floor`]). *Best plan* of a known law of arrivals and the true service law, by
//! the production formula over all places, bounds and closing quantiles ([`PlanSearch`]). *Oracle:* the best plan of each minute of arrivals that
//! have not happened yet, put together from measured runs under one allowance of late answers ([`allot`]). *Clairvoyant:* the oracle's schedule
//! when cold starts are paid.
//!
//! Everything here is pure: runs are made by the caller and handed in.
//! Deliberately absent: size classes (a profile's first class stands for all), requests of several items.

mod floor;
mod known;
mod minutes;
mod oracle;
mod search;

pub use floor::physical_floor_usd;
pub use known::{Known, KnownPlace};
pub use minutes::{MinuteArrivals, MinuteOutcome, minute_arrivals, minute_outcomes};
pub use oracle::{Allotment, allot, best_fixed, schedule, warmed_schedule};
pub use search::{PlanScore, PlanSearch, SearchLimits};
