//! `bocpd`: Bayesian online change-point detection, the default.
//!
//! *Problem.* Find a lasting change of the arrival rate within 1.5 times the windows that theory needs, at one false
//! alarm in 10,000 windows, on over-dispersed counts whose rate and dispersion nobody has told.
//!
//! *Rule.* One model, read in two ways. The posterior odds that the present regime has ended, with negative binomial
//! likelihood and a discrete prior over the new rate (`evidence`), decide *whether*; the posterior over run lengths of
//! the `changepoint` crate (`run_length`) decides *when*, or the likeliest split where it is undecided (`track`).
//!
//! *Why not the obvious alternative.* The crate's posterior alone, with the usual rule "mass of the short runs above
//! 0.9": there is no conjugate prior for the negative binomial, and counts divided by their dispersion keep the
//! variance but not the tail, so it alarms on the tail of noisy counts or, made deaf to that, misses small steps; and
//! with a horizon of hundreds of windows, which dispersion 27 needs, a step of it costs milliseconds.
//!
//! *Bounds and first start.* Constant time and memory. No alarm in the first [`FIRST_WINDOWS`] windows of a life: there
//! is no regime yet.
//!
//! References: Adams and MacKay, arXiv:0710.3742, 2007; Shiryaev 1963 and Pollak 1987 as named in `evidence`.

use crate::evidence::Evidence;
use crate::likelihood::count_to_f64;
use crate::run_length::{History, RunLength};
use crate::state::{DetectorBody, StateError};
use crate::track::Track;
use crate::{ChangePoint, Detector, DetectorSettings, DetectorState, Regime};
use serde::{Deserialize, Serialize};

/// Windows that a fresh detector learns before its first alarm.
const FIRST_WINDOWS: u64 = 8;
/// Factor on the bound A for what the bound does not count: rate and dispersion are estimates, and a false alarm leaves
/// a regime behind that a second one has to end. Measured: false alarms stay below the allowed in every cell.
const CALIBRATION: f64 = 1.3;

/// The detector.
#[derive(Debug, Clone)]
pub(crate) struct Bocpd {
    settings: DetectorSettings,
    track: Track,
    evidence: Evidence,
    run_length: RunLength,
}

/// What is saved of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BocpdState {
    track: Track,
    evidence: Evidence,
    run_length: History,
}

impl Bocpd {
    /// A detector that has seen nothing.
    pub(crate) fn new(settings: &DetectorSettings) -> Self {
        Self {
            settings: settings.clone(),
            track: Track::default(),
            evidence: Evidence::default(),
            run_length: RunLength::new(settings.expected_run_windows),
        }
    }

    /// Continues a saved one.
    pub(crate) fn restore(settings: &DetectorSettings, state: &BocpdState) -> Result<Self, StateError> {
        state.track.check()?;
        state.evidence.check()?;
        Ok(Self {
            settings: settings.clone(),
            track: state.track.clone(),
            evidence: state.evidence.clone(),
            run_length: state.run_length.replay()?,
        })
    }
}

impl Detector for Bocpd {
    fn observe(&mut self, count: u64) -> Option<ChangePoint> {
        let count = count_to_f64(count);
        self.track.remember(count);
        let dispersion = self.track.regime.dispersion();
        self.run_length.observe(count, dispersion);
        if self.track.regime.windows() < FIRST_WINDOWS && self.track.is_first_regime() {
            self.track.regime.observe(count);
            return None;
        }
        let verdict = self.evidence.observe(count, &self.track.regime);
        if verdict.ln_total < (CALIBRATION * self.settings.windows_per_false_alarm).ln() {
            self.track.regime.observe(count);
            return None;
        }
        let odds_ln = verdict.ln_total - f64::from(self.settings.expected_run_windows).ln();
        let windows = self
            .run_length
            .windows_since_change()
            .filter(|windows| self.track.can_have_begun(*windows, verdict.direction))
            .unwrap_or_else(|| self.track.likeliest_split(verdict.direction));
        self.evidence.clear();
        self.run_length.restart(self.track.recent(windows).into_iter(), dispersion);
        Some(self.track.change(windows, verdict.direction, 1.0 / (1.0 + (-odds_ln).exp())))
    }

    fn regime(&self) -> Regime {
        self.track.regime.report()
    }

    fn save(&self) -> DetectorState {
        DetectorState::new(DetectorBody::Bocpd(Box::new(BocpdState {
            track: self.track.clone(),
            evidence: self.evidence.clone(),
            run_length: self.run_length.history().clone(),
        })))
    }

    fn name(&self) -> &'static str {
        "bocpd"
    }
}
