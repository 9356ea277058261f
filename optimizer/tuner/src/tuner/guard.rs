//! The guard: what was measured decides against what was predicted.
//!
//! *Caution*: while more answers are late than the objective allows, batches are closed by higher quantiles of the service time; it fades when
//! they are in time. Below zero it says that the formula expects more late answers than there are, and lets it expect more. *Return*: a plan on probation that is clearly late, dear or failing is given up for the one before, and left alone
//! for a while. "Clearly" is three standard deviations of a count, so that a few late answers of a small sample decide nothing. Answers are late by
//! the batch: a count of `n` late answers in batches of `f` varies as `n/f` late batches do, by `f` times its mean.

use gateway_contract::WindowStats;

use super::Tuner;
use super::account::{Previous, Realised};
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
const CAUTION_TARGET: f64 = 0.7;
/// Least caution, below zero: a plan may then be expected to have e to the power of this times the late answers that are allowed.
const MOST_LENIENCY: f64 = 0.6;
/// Pace below zero, against that above.
const LENIENT_PACE: f64 = 0.3;
/// Windows after which all of it may be used: at first the service times are not known well.
const LENIENT_FROM: f64 = 600.0;
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
        let pace = if excess < 0.0 && self.caution < 0.0 { LENIENT_PACE * pace } else { pace };
        let least = -MOST_LENIENCY * (self.windows as f64 / LENIENT_FROM).min(1.0);
        self.caution = (self.caution + pace * excess).clamp(least, MOST_CAUTION);
        if (self.caution - self.searched.caution).abs() > 0.2 && self.caution > before {
            self.searched.is_due.get_or_insert(SwitchReason::ObjectiveAtRisk);
        }
    }

    /// Gives a plan on probation up if it disappoints. Whether it did.
    pub(super) fn guard(&mut self) -> bool {
        let on_probation = self.realised.batches <= f64::from(self.settings.guard.probation_batches) * 4.0;
        let Some(previous) = self.previous.clone().filter(|_| on_probation) else { return false };
        let realised = self.realised;
        let Some(reason) = self.disappointment(&realised, &previous) else { return false };
        let Some(given_up) = self.point.clone() else { return false };
        self.end_canary_as_abandoned();
        let from = self.plan.revision.0;
        let plan = self.plan_of(&previous.point, previous.service_time_upper);
        if !self.put_in_force(plan) {
            return false;
        }
        if reason == RollbackReason::Late {
            // Its service times were taken too low: the next time it is weighed with more care.
            self.caution = (self.caution + CAUTION_AFTER_LATE).min(MOST_CAUTION);
        }
        let until = self.windows + u64::from(self.settings.guard.hold_off_windows);
        self.given_up = Some((given_up, until));
        self.point = Some(previous.point);
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

    fn disappointment(&self, realised: &Realised, previous: &Previous) -> Option<RollbackReason> {
        let before = &previous.realised;
        let ended = realised.answered + realised.failed;
        if ended < JUDGED_FROM || realised.batches < 5.0 {
            return None;
        }
        let per_batch = (ended / realised.batches).max(1.0);
        let clearly_above = |count: f64, share: f64| {
            let expected = share * ended;
            count > expected + 3.0 * ((expected + 1.0) * per_batch).sqrt()
        };
        let was_late = before.late_share().max(self.allowed_late());
        if clearly_above(realised.failed, was_late) {
            return Some(RollbackReason::Failing);
        }
        if clearly_above(realised.answered - realised.within, 1.5 * was_late) {
            return Some(RollbackReason::Late);
        }
        let enough = realised.batches >= 2.0 * f64::from(self.settings.guard.probation_batches);
        let is_same = (self.knowledge.drift_ln() - previous.drift_ln).abs() < 0.05;
        match (realised.warm_usd_per_request(), before.warm_usd_per_request()) {
            // Under the same load (the record before ends at a change of load) and the same speed of Lambda only.
            (Some(now), Some(then)) if enough && is_same && before.batches >= 20.0 && now > DEAR * then => {
                Some(RollbackReason::Dear)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::time::Duration;

    use gateway_contract::{
        Architecture, Mebibytes, ModelId, PackingPolicy, PlanRevision, PriceTable, RetryLimits, Rung,
        ServiceTimeTable, ServingPlan,
    };

    use super::*;
    use crate::search::Point;
    use crate::service::belief::RungPoint;
    use crate::settings::TunerSettings;
    use crate::tuner::Economics;
    use crate::tuner::account::Previous;

    fn table(milliseconds: u64) -> ServiceTimeTable {
        ServiceTimeTable::new(vec![(1, Duration::from_millis(milliseconds))]).unwrap()
    }

    fn point(memory_mib: u32) -> Point {
        Point {
            max_batch_size: 8,
            max_queue_delay: Duration::from_millis(50),
            rungs: vec![(8, RungPoint { memory_mib, process_count: 1 })],
            close_z: 2.0,
        }
    }

    /// Serves 2048 MiB, closing by 20 ms; before that it was 1024 MiB, closing by 80 ms.
    fn switched() -> Tuner {
        let rung = Rung {
            max_items: 8,
            qualifier: "mem-1769".to_owned(),
            memory_mib: Mebibytes(1769),
            process_count: 1,
        };
        let base = ServingPlan {
            model: ModelId(0),
            revision: PlanRevision(1),
            parent: None,
            packing: PackingPolicy::Deadline,
            max_batch_size: 8,
            max_queue_delay: Duration::from_millis(20),
            max_in_flight: 10,
            queue_capacity_items: 100,
            queue_capacity_bytes: 1 << 20,
            max_request_payload_bytes: 1 << 20,
            max_response_payload_bytes: 1 << 20,
            slo_latency: Duration::from_millis(300),
            deadline_margin: Duration::from_millis(10),
            service_time_upper: table(100),
            rungs: vec![rung],
            canary: None,
            hold_out: None,
            environments: None,
            retry: RetryLimits::default(),
        };
        let economics = Economics {
            prices: PriceTable::default(),
            architecture: Architecture::X86_64,
            month_gb_seconds: 0.0,
        };
        let mut tuner = Tuner::new(TunerSettings::default(), base, economics).unwrap();
        let plan = tuner.plan_of(&point(2048), table(20));
        assert!(tuner.put_in_force(plan));
        tuner.point = Some(point(2048));
        tuner.previous = Some(Previous {
            point: point(1024),
            service_time_upper: table(80),
            realised: Realised::default(),
            drift_ln: 0.0,
        });
        tuner
    }

    fn measured(batches: u64, answered: u64, late: u64) -> WindowStats {
        WindowStats { batches, answered, within_slo: answered - late, ..WindowStats::default() }
    }

    #[test]
    fn a_return_closes_batches_by_the_service_times_of_the_plan_returned_to() {
        let mut tuner = switched();
        tuner.realised.add(&measured(100, 200, 60), 0.0);
        assert!(tuner.guard());
        assert_eq!(tuner.plan().rungs[0].memory_mib, Mebibytes(1024));
        assert_eq!(tuner.plan().service_time_upper, table(80));
    }

    #[test]
    fn a_late_batch_is_one_event_however_many_answers_it_holds() {
        let mut few_full = switched();
        few_full.realised.add(&measured(15, 120, 8), 0.0);
        assert!(!few_full.guard(), "one batch of eight was late");
        let mut many_single = switched();
        many_single.realised.add(&measured(120, 120, 8), 0.0);
        assert!(many_single.guard(), "eight batches of one were late");
    }
}
