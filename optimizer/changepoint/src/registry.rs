//! The detectors by name, and their settings. A new detector is one file and one line in each `match` here.

use crate::Detector;
use crate::bocpd::Bocpd;
use crate::cusum::Cusum;
use crate::none::Never;
use crate::state::{DetectorBody, DetectorState, StateError};
use serde::{Deserialize, Serialize};

/// Which detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DetectorKind {
    /// Bayesian online change-point detection.
    #[default]
    Bocpd,
    /// Page's CUSUM, the baseline.
    Cusum,
    /// Never alarms.
    None,
}

/// Settings of every detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorSettings {
    /// Expected windows between changes, 100..=900, default 250. More makes a change less probable beforehand: the
    /// reported probability is lower. The moment of an alarm does not depend on it.
    pub expected_run_windows: u32,
    /// Stationary windows per false alarm, 100..=10⁹, default 10,000. More means fewer false alarms and later
    /// detection, in proportion to its logarithm.
    pub windows_per_false_alarm: f64,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self { expected_run_windows: 250, windows_per_false_alarm: 10_000.0 }
    }
}

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// `expected_run_windows` is outside 100..=900.
    #[error("`expected_run_windows` is {found}, outside 100..=900")]
    ExpectedRun {
        /// The value found.
        found: u32,
    },
    /// `windows_per_false_alarm` is outside 100..=10⁹.
    #[error("`windows_per_false_alarm` is {found}, outside 100..=1e9")]
    FalseAlarms {
        /// The value found.
        found: f64,
    },
}

impl DetectorSettings {
    /// Whether every setting is within its range.
    ///
    /// # Errors
    /// The first setting that is not.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if !(100..=900).contains(&self.expected_run_windows) {
            return Err(SettingsError::ExpectedRun { found: self.expected_run_windows });
        }
        if !(100.0..=1e9).contains(&self.windows_per_false_alarm) {
            return Err(SettingsError::FalseAlarms { found: self.windows_per_false_alarm });
        }
        Ok(())
    }

    /// The same with every setting brought into its range (not-a-number becomes the default).
    fn clamped(&self) -> Self {
        let windows = self.windows_per_false_alarm;
        Self {
            expected_run_windows: self.expected_run_windows.clamp(100, 900),
            windows_per_false_alarm: if windows.is_nan() { 10_000.0 } else { windows.clamp(100.0, 1e9) },
        }
    }
}

impl DetectorKind {
    /// A detector of this kind that has seen nothing. Settings outside their range are brought into it; call
    /// [`DetectorSettings::validate`] first to hear of them.
    #[must_use]
    pub fn build(self, settings: &DetectorSettings) -> Box<dyn Detector> {
        match self {
            Self::Bocpd => Box::new(Bocpd::new(&settings.clamped())),
            Self::Cusum => Box::new(Cusum::new(&settings.clamped())),
            Self::None => Box::new(Never::default()),
        }
    }

    /// Name in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bocpd => "bocpd",
            Self::Cusum => "cusum",
            Self::None => "none",
        }
    }
}

/// Continues a saved detector, under `settings` that may differ from those it was saved under.
///
/// # Errors
/// The state is of another version or kind, or holds what no detector can have written.
pub fn restore(
    kind: DetectorKind,
    settings: &DetectorSettings,
    state: &DetectorState,
) -> Result<Box<dyn Detector>, StateError> {
    let settings = settings.clamped();
    match (kind, state.body()?) {
        (DetectorKind::Bocpd, DetectorBody::Bocpd(body)) => Ok(Box::new(Bocpd::restore(&settings, body)?)),
        (DetectorKind::Cusum, DetectorBody::Cusum(body)) => Ok(Box::new(Cusum::restore(&settings, body)?)),
        (DetectorKind::None, DetectorBody::None(body)) => Ok(Box::new(Never::restore(body)?)),
        (DetectorKind::Bocpd | DetectorKind::Cusum | DetectorKind::None, _) => {
            Err(StateError::Kind { found: state.detector_name(), wanted: kind.name() })
        }
    }
}
