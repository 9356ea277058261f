//! The guard: what was measured decides against what was predicted.
//!
//! *Caution*: while more answers are late than the objective allows, batches are closed by higher quantiles of the service time; it fades when
//! they are in time. *Return*: a plan on probation that is clearly late, dear or failing is given up for the one before, and left alone
//! for a while. "Clearly" is three standard deviations of a count, so that a few late answers of a small sample decide nothing.

use gateway_contract::WindowStats;

use super::Tuner;
use super::account::Realised;
use crate::event::{Phase, RollbackReason, SwitchReason, TunerAction};

/// Most caution, in standard deviations.
const MOST_CAUTION: f64 = 3.0;
const CAUTION_UP: f64 = 0.25;
const CAUTION_DOWN: f64 = 0.01;
/// Answers from which a plan is judged.
const JUDGED_FROM: f64 = 50.0;
/// A plan may cost this much more than the one before did, under the same load, before it is given up.
const DEAR: f64 = 1.25;

impl Tuner {
    /// Share of requests that may be late.
    pub(super) fn allowed_late(&self) -> f64 {
        1.0 - self.settings.slo_percentile
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of one window are far below 2^53")]
    pub(super) fn adjust_caution(&mut self, stats: &WindowStats) {
        if stats.answered == 0 {
            return;
        }
        let late = (stats.answered - stats.within_slo.min(stats.answered)) as f64;
        let allowed = self.allowed_late() * stats.answered as f64;
        let before = self.caution;
        if late > allowed + 2.0 * allowed.sqrt() + 1.0 && self.realised.late_share() > self.allowed_late() {
            self.caution = (self.caution + CAUTION_UP).min(MOST_CAUTION);
        } else if late <= allowed {
            self.caution = (self.caution - CAUTION_DOWN).max(0.0);
        }
        if self.caution > before {
            self.searched.is_due.get_or_insert(SwitchReason::ObjectiveAtRisk);
        }
    }

    /// Gives a plan on probation up if it disappoints. Whether it did.
    pub(super) fn guard(&mut self) -> bool {
        let on_probation = self.realised.batches <= f64::from(self.settings.guard.probation_batches) * 4.0;
        let Some((previous, before)) = self.previous.clone().filter(|_| on_probation) else {
            return false;
        };
        let realised = self.realised;
        let Some(reason) = self.disappointment(&realised, &before) else { return false };
        let Some(given_up) = self.point.clone() else { return false };
        self.end_canary_as_abandoned();
        let from = self.plan.revision.0;
        let table = self.plan.service_time_upper.clone();
        let plan = self.plan_of(&previous, table);
        if !self.put_in_force(plan) {
            return false;
        }
        let until = self.windows + u64::from(self.settings.guard.hold_off_windows);
        self.given_up = Some((given_up, until));
        self.point = Some(previous);
        self.previous = None;
        self.window_of_last_switch = self.windows;
        self.realised = Realised::default();
        self.counts.rollbacks += 1;
        self.phase = Phase::RollingBack;
        self.searched.is_due = Some(SwitchReason::Guard);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
        self.emit(TunerAction::RolledBack {
            from,
            to: self.plan.revision.0,
            reason,
            late_share: realised.late_share(),
            requests: realised.answered as u64,
        });
        true
    }

    fn disappointment(&self, realised: &Realised, before: &Realised) -> Option<RollbackReason> {
        let ended = realised.answered + realised.failed;
        if ended < JUDGED_FROM || realised.batches < 5.0 {
            return None;
        }
        let clearly_above = |count: f64, share: f64| {
            let expected = share * ended;
            count > expected + 3.0 * (expected + 1.0).sqrt()
        };
        let was_late = before.late_share().max(self.allowed_late());
        if clearly_above(realised.failed, was_late) {
            return Some(RollbackReason::Failing);
        }
        if clearly_above(realised.answered - realised.within, 1.5 * was_late) {
            return Some(RollbackReason::Late);
        }
        let enough = realised.batches >= f64::from(self.settings.guard.probation_batches);
        match (realised.usd_per_request(), before.usd_per_request()) {
            // Under the same load only: the record before ends at a change of load.
            (Some(now), Some(then)) if enough && before.batches >= 20.0 && now > DEAR * then => {
                Some(RollbackReason::Dear)
            }
            _ => None,
        }
    }
}
