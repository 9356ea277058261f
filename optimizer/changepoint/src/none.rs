//! `none`: never alarms, only knows the present rate.
//!
//! *Why it is there.* The comparison for every other detector, and the choice for traffic that is known to be steady.
//! Its regime is the same running mean with bounded memory, so it follows the load slowly.

use crate::likelihood::count_to_f64;
use crate::regime::RegimeEstimator;
use crate::state::{DetectorBody, StateError};
use crate::{ChangePoint, Detector, DetectorState, Regime};

/// The detector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Never {
    regime: RegimeEstimator,
}

impl Never {
    /// Continues a saved one.
    pub(crate) fn restore(regime: &RegimeEstimator) -> Result<Self, StateError> {
        regime.check()?;
        Ok(Self { regime: regime.clone() })
    }
}

impl Detector for Never {
    fn observe(&mut self, count: u64) -> Option<ChangePoint> {
        self.regime.observe(count_to_f64(count));
        None
    }

    fn regime(&self) -> Regime {
        self.regime.report()
    }

    fn save(&self) -> DetectorState {
        DetectorState::new(DetectorBody::None(Box::new(self.regime.clone())))
    }

    fn name(&self) -> &'static str {
        "none"
    }
}
