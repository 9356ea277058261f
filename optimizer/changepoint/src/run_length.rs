//! The run-length posterior of Adams and MacKay, as the `changepoint` crate computes it, fenced in.
//!
//! *Role.* It answers *when* the change began; whether there was one is decided by `evidence`.
//!
//! *Rule.* Poisson counts with a Gamma prior on counts divided by the index of dispersion (quasi-Poisson), constant
//! hazard. The posterior over run lengths is read as soon as an alarm asks for it.
//!
//! *Fences round the crate* (release 0.15, each seen to fail without):
//! 1. Hazards below its inner cut of 10⁻³ leave stale entries: the expected run stays within 100..=900 windows.
//! 2. Nothing is dropped in a steady regime, so time and memory grow: after [`MOST_RUNS`] windows it starts anew on the
//!    last [`KEPT_WINDOWS`], shown to it again one by one (what its `preload` loads is never read).
//! 3. Likelihoods are linear, so an absurd jump makes NaN for ever (a panic in debug builds): the jump is recognised by
//!    its log-likelihood under the oldest run alive, and the posterior starts anew at the new level instead.
//!
//! *Bounds.* At most [`MOST_RUNS`] runs. Saved as the counts since it started anew, from which the same floats are
//! computed again.
//!
//! Reference: R. Adams, D. MacKay, "Bayesian online changepoint detection", arXiv:0710.3742, 2007.

use crate::bits;
use crate::state::{StateError, in_range};
use changepoint::{BocpdLike, BocpdTruncated};
use rv::data::PoissonSuffStat;
use rv::prelude::{ConjugatePrior, DataOrSuffStat, Gamma, Poisson, SuffStat};
use serde::{Deserialize, Serialize};

/// Windows after which the posterior starts anew on the latest ones.
pub(crate) const MOST_RUNS: usize = 256;
/// Windows that it starts anew on.
const KEPT_WINDOWS: usize = 96;
/// Largest scaled count that the crate is shown.
const LARGEST: f64 = 1e9;
/// Log-likelihood under the oldest run alive below which the linear likelihood is in danger of underflow.
const UNDERFLOW: f64 = -500.0;
/// A run with less posterior mass than this does not save the sum from underflow.
const ALIVE: f64 = 1e-9;

/// The fenced-in posterior.
#[derive(Debug, Clone)]
pub(crate) struct RunLength {
    engine: BocpdTruncated<u32, Poisson, Gamma>,
    history: History,
    posterior: Vec<f64>,
}

/// What a posterior is computed from: kept instead of the posterior in saved states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    #[serde(with = "bits::one")]
    expected_run: f64,
    #[serde(with = "bits::one")]
    prior_mean: f64,
    since: Vec<u32>,
}

impl RunLength {
    /// A posterior that has seen nothing and expects windows of `prior_mean` after a change.
    fn start(expected_run: f64, prior_mean: f64) -> Self {
        let history = History { expected_run, prior_mean, since: Vec::new() };
        Self { engine: BocpdTruncated::new(expected_run, history.prior()), history, posterior: Vec::new() }
    }

    /// A posterior that has seen nothing; `expected_run_windows` within 100..=900.
    pub(crate) fn new(expected_run_windows: u32) -> Self {
        Self::start(f64::from(expected_run_windows.clamp(100, 900)), 10.0)
    }

    /// Takes in one window's count, scaled by `dispersion` (at least 1).
    pub(crate) fn observe(&mut self, count: f64, dispersion: f64) {
        let scaled = scale(count, dispersion);
        if self.underflows(scaled) {
            self.restart_at(&[scaled]);
        } else {
            self.step(scaled);
        }
        if self.history.since.len() >= MOST_RUNS {
            self.rebase();
        }
    }

    /// Starts anew after a change, on the windows since.
    pub(crate) fn restart(&mut self, since: impl Iterator<Item = f64>, dispersion: f64) {
        let scaled: Vec<u32> = since.map(|count| scale(count, dispersion)).collect();
        self.restart_at(&scaled[scaled.len().saturating_sub(KEPT_WINDOWS)..]);
    }

    /// Run length with the greatest posterior among those younger than the base run, if these hold at least half of
    /// the posterior: windows since the change, this one included.
    ///
    /// Entry i of the crate's posterior is the run of the last i windows; entry 0, a change after this window, is the
    /// hazard whatever the data, and the last entry is the base run.
    pub(crate) fn windows_since_change(&self) -> Option<u32> {
        let base = self.history.since.len().saturating_sub(1).min(self.posterior.len());
        let young = self.posterior.get(1..base)?;
        if young.iter().sum::<f64>() < 0.5 {
            return None;
        }
        let (index, _) = young.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
        u32::try_from(index + 1).ok()
    }

    /// What to save.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    fn step(&mut self, scaled: u32) {
        self.history.since.push(scaled);
        self.posterior.clear();
        self.posterior.extend_from_slice(self.engine.step(&scaled));
    }

    fn restart_at(&mut self, scaled: &[u32]) {
        let mean = scaled.iter().map(|count| f64::from(*count)).sum::<f64>() / scaled.len().max(1) as f64;
        *self = Self::start(self.history.expected_run, mean.max(1.0));
        for count in scaled {
            if self.underflows(*count) {
                *self = Self::start(self.history.expected_run, f64::from((*count).max(1)));
            }
            self.step(*count);
        }
    }

    fn rebase(&mut self) {
        let kept = self.history.since[self.history.since.len() - KEPT_WINDOWS..].to_vec();
        self.restart_at(&kept);
    }

    /// Whether the oldest run that still has mass would give `scaled` a likelihood too small for a linear float.
    fn underflows(&self, scaled: u32) -> bool {
        let Some(oldest) = self.posterior.iter().rposition(|mass| *mass >= ALIVE) else {
            return self.posterior.iter().any(|mass| !mass.is_finite());
        };
        let mut statistic = PoissonSuffStat::new();
        let since = &self.history.since;
        since.iter().rev().take(oldest).for_each(|count| statistic.observe(count));
        let ln_predictive = self.history.prior().ln_pp(&scaled, &DataOrSuffStat::SuffStat(&statistic));
        ln_predictive.is_nan() || ln_predictive < UNDERFLOW
    }
}

impl History {
    fn prior(&self) -> Gamma {
        Gamma::new_unchecked(1.0, self.prior_mean.recip())
    }

    /// The posterior that this history leads to.
    pub(crate) fn replay(&self) -> Result<RunLength, StateError> {
        in_range("expected_run", self.expected_run, 100.0, 900.0)?;
        in_range("prior_mean", self.prior_mean, 1.0, LARGEST)?;
        if self.since.len() > MOST_RUNS || self.since.iter().any(|count| f64::from(*count) > LARGEST) {
            return Err(StateError::Length { field: "since", length: self.since.len() });
        }
        let mut run_length = RunLength::start(self.expected_run, self.prior_mean);
        for scaled in &self.since {
            if run_length.underflows(*scaled) {
                return Err(StateError::Impossible { field: "since" });
            }
            run_length.step(*scaled);
        }
        Ok(run_length)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1e9 just before")]
fn scale(count: f64, dispersion: f64) -> u32 {
    (count / dispersion.max(1.0)).round().clamp(0.0, LARGEST) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(levels: &[(u32, usize)]) -> RunLength {
        let mut run_length = RunLength::new(250);
        for (level, windows) in levels {
            (0..*windows).for_each(|window| run_length.observe(f64::from(*level) + (window % 3) as f64, 1.0));
        }
        run_length
    }

    #[test]
    fn run_length_is_the_windows_since_the_step() {
        for since in [2, 3, 10] {
            assert_eq!(fed(&[(20, 100), (60, since)]).windows_since_change(), u32::try_from(since).ok());
        }
    }

    #[test]
    fn steady_counts_have_no_change_to_date() {
        assert_eq!(fed(&[(20, 1000)]).windows_since_change(), None);
    }

    #[test]
    fn absurd_jumps_leave_the_posterior_finite() {
        let run_length = fed(&[(20, 100), (1_000_000_000, 5), (0, 5), (50_000, 5)]);
        assert!(run_length.posterior.iter().all(|mass| mass.is_finite()));
    }

    #[test]
    fn no_more_runs_are_kept_than_stated() {
        let run_length = fed(&[(20, 5000)]);
        assert!(run_length.posterior.len() <= MOST_RUNS && run_length.history.since.len() <= MOST_RUNS);
    }
}
