//! `cusum`: Page's sequential test, the baseline.
//!
//! *Rule.* Two one-sided sums W ← max(0, W + ln L), one for a rate [`DESIGN_RATIO`] times the present and one for the
//! inverse, with the same negative binomial likelihood, learned regime and guard as `bocpd`: the only difference is
//! that it looks for one ratio, and takes the best moment of change instead of the sum over all. The alarm threshold is
//! ln of the wanted windows per false alarm, plus [`LN_CALIBRATION`].
//!
//! *Why.* For a known ratio it is the quickest test there is, so it says what the mixture over ratios and the posterior
//! are worth. 1.7 is the best single ratio for steps from 1.5 to 4: smaller is late for large steps, larger blind for
//! small ones.
//!
//! *Bounds.* Constant time and memory. Deliberately absent: an uncertainty of its own; the reported probability is that
//! of the same threshold in posterior odds.
//!
//! References: E. Page, "Continuous inspection schemes", *Biometrika* 41, 1954; G. Moustakides, "Optimal stopping times
//! for detecting changes in distributions", *Annals of Statistics* 14, 1986.

use crate::bits;
use crate::evidence::tempered_gain;
use crate::likelihood::count_to_f64;
use crate::state::{DetectorBody, StateError, in_range};
use crate::track::Track;
use crate::{ChangePoint, Detector, DetectorSettings, DetectorState, Direction, Regime};
use serde::{Deserialize, Serialize};

/// Ratio of rates that the test is designed for.
const DESIGN_RATIO: f64 = 1.7;
/// Added to the threshold so that the measured false alarms stay below the allowed.
const LN_CALIBRATION: f64 = -0.8;
/// Windows that a fresh detector learns before its first alarm.
const FIRST_WINDOWS: u64 = 8;
/// The sums are kept below this.
const CEILING: f64 = 1e9;

/// The detector.
#[derive(Debug, Clone)]
pub(crate) struct Cusum {
    settings: DetectorSettings,
    state: CusumState,
}

/// All that it knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct CusumState {
    track: Track,
    #[serde(with = "bits::one")]
    up: f64,
    #[serde(with = "bits::one")]
    down: f64,
}

impl Cusum {
    /// A detector that has seen nothing.
    pub(crate) fn new(settings: &DetectorSettings) -> Self {
        Self { settings: settings.clone(), state: CusumState::default() }
    }

    /// Continues a saved one.
    pub(crate) fn restore(settings: &DetectorSettings, state: &CusumState) -> Result<Self, StateError> {
        state.track.check()?;
        in_range("up", state.up, 0.0, CEILING)?;
        in_range("down", state.down, 0.0, CEILING)?;
        Ok(Self { settings: settings.clone(), state: state.clone() })
    }
}

impl Detector for Cusum {
    fn observe(&mut self, count: u64) -> Option<ChangePoint> {
        let count = count_to_f64(count);
        let CusumState { track, up, down } = &mut self.state;
        track.remember(count);
        if track.regime.windows() < FIRST_WINDOWS && track.is_first_regime() {
            track.regime.observe(count);
            return None;
        }
        *up = (*up + tempered_gain(&track.regime, count, DESIGN_RATIO).unwrap_or(-*up)).clamp(0.0, CEILING);
        *down = (*down + tempered_gain(&track.regime, count, 1.0 / DESIGN_RATIO).unwrap_or(-*down))
            .clamp(0.0, CEILING);
        let (highest, direction) = if *up > *down { (*up, Direction::Up) } else { (*down, Direction::Down) };
        if highest < self.settings.windows_per_false_alarm.ln() + LN_CALIBRATION {
            track.regime.observe(count);
            return None;
        }
        let odds_ln = highest - f64::from(self.settings.expected_run_windows).ln();
        (*up, *down) = (0.0, 0.0);
        let windows = track.likeliest_split(direction);
        Some(track.change(windows, direction, 1.0 / (1.0 + (-odds_ln).exp())))
    }

    fn regime(&self) -> Regime {
        self.state.track.regime.report()
    }

    fn save(&self) -> DetectorState {
        DetectorState::new(DetectorBody::Cusum(Box::new(self.state.clone())))
    }

    fn name(&self) -> &'static str {
        "cusum"
    }
}
