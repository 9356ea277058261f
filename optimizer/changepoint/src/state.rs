//! Saved detectors: a versioned value for serde, and the checks that make a bad one an error and never a panic.
//!
//! Deliberately absent: files and checksums, which belong to whoever stores the value.

use crate::bocpd::BocpdState;
use crate::cusum::CusumState;
use crate::regime::RegimeEstimator;
use serde::{Deserialize, Serialize};

/// Version of the layout; another one is an error.
pub const STATE_VERSION: u32 = 1;

/// All that a detector has learned. A round trip through JSON continues bit-identically (floats are kept as their bits).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorState {
    version: u32,
    detector: DetectorBody,
}

/// One variant a kind of detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DetectorBody {
    Bocpd(Box<BocpdState>),
    Cusum(Box<CusumState>),
    None(Box<RegimeEstimator>),
}

impl DetectorState {
    pub(crate) fn new(detector: DetectorBody) -> Self {
        Self { version: STATE_VERSION, detector }
    }

    /// The part that a detector continues from, if the version is the present one.
    pub(crate) fn body(&self) -> Result<&DetectorBody, StateError> {
        if self.version == STATE_VERSION {
            Ok(&self.detector)
        } else {
            Err(StateError::Version { found: self.version })
        }
    }

    /// Name of the detector that saved this.
    #[must_use]
    pub fn detector_name(&self) -> &'static str {
        match self.detector {
            DetectorBody::Bocpd(_) => "bocpd",
            DetectorBody::Cusum(_) => "cusum",
            DetectorBody::None(_) => "none",
        }
    }
}

/// Why a saved state cannot be continued. The remedy is the same for all: start afresh.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StateError {
    /// Written by another layout of this crate.
    #[error("saved detector has version `{found}`, wanted `{STATE_VERSION}`")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Saved by another kind of detector.
    #[error("saved detector is `{found}`, wanted `{wanted}`")]
    Kind {
        /// The kind found.
        found: &'static str,
        /// The kind asked for.
        wanted: &'static str,
    },
    /// A number is not finite or outside what the detector can have written.
    #[error("`{field}` of the saved detector is {value}, outside {least}..={most}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// Least possible value.
        least: f64,
        /// Greatest possible value.
        most: f64,
    },
    /// A list has a length or an entry that the detector cannot have written.
    #[error("`{field}` of the saved detector has an impossible length {length} or entry")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        length: usize,
    },
    /// A list holds a sequence that the detector cannot have written.
    #[error("`{field}` of the saved detector is a sequence that cannot occur")]
    Impossible {
        /// The field.
        field: &'static str,
    },
}

/// An error unless `value` is within `least..=most` (which no NaN is).
pub(crate) fn in_range(field: &'static str, value: f64, least: f64, most: f64) -> Result<(), StateError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(StateError::Range { field, value, least, most })
    }
}
