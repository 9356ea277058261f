//! A window that ended: what was counted in it for the tuner, and how the model stood then, for people.

use std::time::Duration;

use gateway_contract::WindowStats;

/// What the driver gives when a window ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClosedWindow {
    /// What the control loop decides on.
    pub stats: WindowStats,
    /// Median latency of answered requests, if any was answered.
    pub latency_p50: Option<Duration>,
    /// Their 99th percentile.
    pub latency_p99: Option<Duration>,
    /// Invocations that ended and had started a sandbox.
    pub cold_starts: u64,
    /// Items that waited at its end.
    pub queue_items: u32,
    /// Age of the oldest of them.
    pub queue_oldest: Duration,
    /// Invocations without an outcome at its end.
    pub in_flight: u32,
}
