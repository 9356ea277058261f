//! Metrics, logs and traces. [`catalogue`] names every metric; [`events`] maps what the engine says to them.
//!
//! Deliberately absent: anything that could block the data path, and labels whose set of values is not closed.

pub mod catalogue;
pub mod control;
mod events;
mod http;
mod jobs;
mod limiter;
mod line_bound;
pub(crate) mod logs;
pub mod model;
mod process;
mod reference;
mod tenants;
pub mod traces;

pub use catalogue::Catalogue;
pub use control::ControlMetrics;
pub use events::record_event;
pub use http::HttpMetrics;
pub use jobs::JobMetrics;
pub(crate) use limiter::PERIOD;
pub use limiter::Repeated;
pub use model::ModelMetrics;
pub use reference::metrics_markdown;
pub use tenants::Tenants;
