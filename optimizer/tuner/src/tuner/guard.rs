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
/// Late answers, were the objective just kept, over which the late share is averaged.
const CAUTION_MEMORY: f64 = 10.0;
/// Deviations that each such late answer may add.
const CAUTION_PACE: f64 = 0.15;
/// Deviations added when a plan was given up for late answers.
const CAUTION_AFTER_LATE: f64 = 0.5;
/// Share of the allowed late answers that is aimed at.
const CAUTION_TARGET: f64 = 0.8;
/// Answers from which a plan is judged.
const JUDGED_FROM: f64 = 50.0;
/// A plan may cost this much more than the one before did, under the same load, before it is given up.
const DEAR: f64 = 1.25;

impl Tuner {
    /// Share of requests that may be late.
    pub(super) fn allowed_late(&self) -> f64 {
        1.0 - self.settings.slo_percentile
    }

    /// An integral controller on the late share of about the last [`CAUTION_MEMORY`] answers.
    #[expect(clippy::cast_precision_loss, reason = "counts of one window are far below 2^53")]
    pub(super) fn adjust_caution(&mut self, stats: &WindowStats) {
        if stats.answered == 0 {
            return;
        }
        let answered = stats.answered as f64;
        let late = answered - stats.within_slo.min(stats.answered) as f64;
        let fade = (-answered / (CAUTION_MEMORY / self.allowed_late())).exp();
        self.recent_late = (self.recent_late.0 * fade + late, self.recent_late.1 * fade + answered);
        let share = self.recent_late.0 / self.recent_late.1;
        // Each answer moves it, so that the pace does not depend on the load.
        let pace = CAUTION_PACE * self.allowed_late() * answered;
        let before = self.caution;
        let excess = (share / (CAUTION_TARGET * self.allowed_late()) - 1.0).clamp(-1.0, 3.0);
        self.caution = (self.caution + pace * excess).clamp(0.0, MOST_CAUTION);
        if (self.caution - self.searched.caution).abs() > 0.2 && self.caution > before {
            self.searched.is_due.get_or_insert(SwitchReason::ObjectiveAtRisk);
        }
    }

    /// Gives a plan on probation up if it disappoints. Whether it did.
    pub(super) fn guard(&mut self) -> bool {
        let on_probation = self.realised.batches <= f64::from(self.settings.guard.probation_batches) * 4.0;
        let Some((previous, before, drift)) = self.previous.clone().filter(|_| on_probation) else {
            return false;
        };
        let realised = self.realised;
        let Some(reason) = self.disappointment(&realised, &before, drift) else { return false };
        let Some(given_up) = self.point.clone() else { return false };
        self.end_canary_as_abandoned();
        let from = self.plan.revision.0;
        let table = self.plan.service_time_upper.clone();
        let plan = self.plan_of(&previous, table);
        if !self.put_in_force(plan) {
            return false;
        }
        if reason == RollbackReason::Late {
            // Its service times were taken too low: the next time it is weighed with more care.
            self.caution = (self.caution + CAUTION_AFTER_LATE).min(MOST_CAUTION);
        }
        let until = self.windows + u64::from(self.settings.guard.hold_off_windows);
        self.given_up = Some((given_up, until));
        self.point = Some(previous);
        self.previous = None;
        self.window_of_last_switch = self.windows;
        self.begin_record();
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

    fn disappointment(&self, realised: &Realised, before: &Realised, drift: f64) -> Option<RollbackReason> {
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
        let enough = realised.batches >= 2.0 * f64::from(self.settings.guard.probation_batches);
        let is_same = (self.knowledge.drift_ln() - drift).abs() < 0.05;
        match (realised.usd_per_request(), before.usd_per_request()) {
            // Under the same load (the record before ends at a change of load) and the same speed of Lambda only.
            (Some(now), Some(then)) if enough && is_same && before.batches >= 20.0 && now > DEAR * then => {
                Some(RollbackReason::Dear)
            }
            _ => None,
        }
    }
}
