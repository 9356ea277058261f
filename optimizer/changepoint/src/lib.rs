//! Online change-point detection over counts of arrivals per window, one detector a file.
//!
//! A detector is shown one count a window and says when the arrival rate has changed, in which direction, how surely,
//! and what it was before and is now. It learns rate and dispersion by itself, takes constant time and memory a window,
//! never panics whatever the counts, and can be saved and restored.
//!
//! Deliberately absent: clocks (a window is whatever the caller makes it), files, seasonality, and any knowledge of
//! serving. `README.md` beside this crate has the reasoning and the measurements.
#![forbid(unsafe_code)]

mod bits;
mod bocpd;
mod cusum;
mod dispersion;
mod evidence;
pub mod likelihood;
mod none;
mod regime;
mod registry;
mod run_length;
mod state;
mod track;

pub use registry::{DetectorKind, DetectorSettings, SettingsError, restore};
pub use state::{DetectorState, STATE_VERSION, StateError};

use serde::{Deserialize, Serialize};

/// Watches the counts of arrivals of one model, one count a window.
pub trait Detector: Send {
    /// Takes in the arrivals of one window; windows without arrivals count too. Counts above 10¹² are taken as 10¹².
    fn observe(&mut self, count: u64) -> Option<ChangePoint>;

    /// The present regime.
    fn regime(&self) -> Regime;

    /// All that was learned, for [`restore`].
    fn save(&self) -> DetectorState;

    /// Name in configuration and in events.
    fn name(&self) -> &'static str;
}

/// Which way the rate went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More arrivals than before.
    Up,
    /// Fewer arrivals than before.
    Down,
}

/// A change of the arrival rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// When it began, in windows before this one: 0 is this window.
    pub windows_ago: u32,
    /// Which way the rate went.
    pub direction: Direction,
    /// Posterior probability that the regime before has ended, 0..=1.
    pub probability: f64,
    /// Rate before the change.
    pub before: RateEstimate,
    /// Rate since the change; rests on `windows_ago` + 1 windows.
    pub after: RateEstimate,
}

/// A rate with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateEstimate {
    /// Arrivals per window, at least 0.
    pub mean: f64,
    /// Standard error of `mean` under the learned dispersion, arrivals per window, above 0.
    pub standard_error: f64,
}

/// The present regime.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Regime {
    /// Its rate.
    pub rate: RateEstimate,
    /// Index of dispersion (variance / mean) of counts, 1..=136; 1 is Poisson.
    pub dispersion: f64,
    /// Windows seen in it; after a burst those before the burst count again.
    pub windows: u64,
}
