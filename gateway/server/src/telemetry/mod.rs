//! Metrics and logs. [`catalogue`] names every metric; [`events`] maps what the engine says to them.
//!
//! Deliberately absent: anything that could block the data path, and labels whose set of values is not closed.

pub mod catalogue;
pub mod control;
mod events;
mod http;
mod jobs;
mod limiter;
pub mod logs;
pub mod model;
mod process;

pub use catalogue::Catalogue;
pub use control::ControlMetrics;
pub use events::record_event;
pub use http::HttpMetrics;
pub use jobs::JobMetrics;
pub use limiter::{Repeated, RepeatedFailures};
pub use model::ModelMetrics;
