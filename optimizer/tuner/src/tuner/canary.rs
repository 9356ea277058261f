//! Exploration: a share of the batches runs on one other place, for as many batches as a judgement needs.
//!
//! A place is tried only if the best plan with it is expected to improve on the plan in force by more than `min_gain`, over what is not known of
//! its service time, and by what its environment costs to start; only with fills that it is expected to serve in time even one closing quantile up; and only within the budgets
//! of share and dollars. While it runs, all batches close by the slower of both service times, so that a canary's batch has the time it needs.

use std::time::Duration;

use gateway_contract::{Canary, ServiceObservation, ServiceOutcome, ServiceTimeTable, ServingPlan};

use super::Tuner;
use crate::event::{Phase, PointSummary, SwitchReason, TrialVerdict, TunerAction};
use crate::search::{Search, Temptation, closing_table};
use crate::service::belief::RungPoint;
use crate::settings::PolicyKind;

/// Trials of one place, unless the load changes.
const MAX_TRIES: u32 = 2;
/// Batches on a canary that took longer than the whole objective before it is stopped.
const SLOW_BATCHES: u32 = 3;
/// Windows after which a canary that meets too few batches is given up.
const PATIENCE_WINDOWS: u64 = 900;
/// Time over which the environment that a trial starts must pay off, seconds: what is learned stays.
const PAY_OFF_S: f64 = 3600.0;
/// Windows after a switch before the next trial begins.
const AFTER_SWITCH: u64 = 3;

/// A trial that runs.
#[derive(Clone, Debug)]
pub(super) struct CanaryTrial {
    pub(super) place: RungPoint,
    number: u64,
    began: u64,
    batches: u32,
    slow: u32,
    failed: u32,
    usd: f64,
    items: u64,
}

impl Tuner {
    /// Starts a trial if one is worth it.
    pub(super) fn tempt(&mut self, search: &Search<'_>, requests_per_second: f64) {
        let limits = self.settings.exploration;
        let Some(incumbent) = self.searched.incumbent.clone() else { return };
        let is_allowed = limits.max_share > 0.0
            && self.settings.policy == PolicyKind::GreyBox
            && self.budget.hour_usd() < limits.max_usd_per_hour
            && self.windows >= self.window_of_last_switch + AFTER_SWITCH;
        if !is_allowed {
            return;
        }
        let now_usd = incumbent.expected.usd_per_million * 1e-6;
        let mut tempting: Vec<(f64, Temptation)> =
            self.searched.found.temptations.iter().map(|it| (it.expected_gain(now_usd), *it)).collect();
        let earned = now_usd * requests_per_second * PAY_OFF_S;
        tempting.retain(|(gain, it)| {
            let memory_mib = it.place.memory_mib;
            let start_usd = if self.is_warm(memory_mib) { 0.0 } else { search.start_usd(memory_mib) };
            *gain > limits.min_gain + start_usd / earned.max(1e-12)
        });
        tempting.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (gain, temptation) in tempting {
            if self.tries.get(&temptation.place).is_some_and(|&tries| tries >= MAX_TRIES) {
                continue;
            }
            if let Some((canary, table)) =
                self.safe_canary(search, temptation.place, incumbent.expected.mean_fill)
            {
                self.start_canary(temptation.place, canary, table, gain);
                return;
            }
        }
    }

    /// The canary and the closing table with it; `None` where too few batches could go there in time.
    fn safe_canary(
        &self,
        search: &Search<'_>,
        place: RungPoint,
        mean_fill: f64,
    ) -> Option<(Canary, ServiceTimeTable)> {
        let room = self.plan.slo_latency.saturating_sub(self.plan.deadline_margin).as_secs_f64();
        let bound = self.plan.max_batch_size;
        let fits = |items: u32| search.upper_on(place, items).is_some_and(|upper| upper <= 0.9 * room);
        let max_items = (1..=bound).take_while(|&items| fits(items)).last()?;
        if f64::from(max_items) < 0.75 * mean_fill {
            return None;
        }
        let table = closing_table(bound, |items| {
            let canary = search.upper_on(place, items.min(max_items)).unwrap_or(0.0);
            self.plan.service_time_upper.upper(items).max(Duration::from_secs_f64(canary))
        })?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 over a share of at most a half"
        )]
        let every = (1.0 / self.settings.exploration.max_share).ceil().min(1e6) as u32;
        let canary = Canary { rung: self.rung(max_items, place), every: every.max(2) };
        Some((canary, table))
    }

    fn start_canary(&mut self, place: RungPoint, canary: Canary, table: ServiceTimeTable, gain: f64) {
        let rung = (canary.rung.max_items, place.memory_mib, place.process_count);
        let plan = ServingPlan { canary: Some(canary), service_time_upper: table, ..self.plan.clone() };
        if !self.put_in_force(plan) {
            return;
        }
        self.counts.trials += 1;
        *self.tries.entry(place).or_default() += 1;
        let number = self.counts.trials;
        self.canary = Some(CanaryTrial {
            place,
            number,
            began: self.windows,
            batches: 0,
            slow: 0,
            failed: 0,
            usd: 0.0,
            items: 0,
        });
        self.phase = Phase::Exploring;
        let point = PointSummary {
            max_batch_size: self.plan.max_batch_size,
            max_queue_delay_ms: self.plan.max_queue_delay.as_secs_f64() * 1e3,
            rungs: vec![rung],
        };
        self.emit(TunerAction::TrialStarted { trial: number, point, expected_gain: Some(gain) });
    }

    pub(super) fn handle_canary_observation(&mut self, observation: &ServiceObservation) {
        if !observation.is_canary {
            return;
        }
        let normal = self.searched.batch_usd.get(observation.items as usize).copied().unwrap_or(0.0);
        let seconds = observation.billed.as_secs_f64();
        let price =
            crate::search::usd_per_second(&self.economics.prices, &self.economics, observation.memory_mib.0);
        let usd = seconds * price + self.economics.prices.request_usd();
        self.budget.spend(usd - normal);
        let slo = self.plan.slo_latency;
        let Some(trial) = &mut self.canary else { return };
        match observation.outcome {
            ServiceOutcome::Completed if observation.init.is_none() => {
                trial.batches += 1;
                trial.items += u64::from(observation.items);
                trial.usd += usd;
                trial.slow += u32::from(observation.round_trip > slo);
            }
            ServiceOutcome::Completed | ServiceOutcome::NotRun => {}
            ServiceOutcome::OutOfMemory | ServiceOutcome::FunctionError => trial.failed += 1,
        }
    }

    /// Ends a trial that has what it needs, has shown itself unsafe, or takes too long.
    pub(super) fn watch_canary(&mut self) {
        let Some(trial) = self.canary.clone() else { return };
        let limits = self.settings.exploration;
        let verdict = if trial.slow >= SLOW_BATCHES || trial.failed >= SLOW_BATCHES {
            let until = self.windows + u64::from(self.settings.guard.hold_off_windows);
            self.vetoes.insert(trial.place, until);
            TrialVerdict::Vetoed
        } else if trial.batches >= limits.batches_per_trial {
            TrialVerdict::Measured
        } else if self.budget.hour_usd() >= limits.max_usd_per_hour
            || self.windows >= trial.began + PATIENCE_WINDOWS
        {
            TrialVerdict::Abandoned
        } else {
            return;
        };
        self.end_canary(verdict);
    }

    pub(super) fn end_canary_as_abandoned(&mut self) {
        self.end_canary(TrialVerdict::Abandoned);
    }

    /// For changes that put another plan into force themselves.
    pub(super) fn end_canary_silently(&mut self) {
        self.canary = None;
        self.plan.canary = None;
    }

    fn end_canary(&mut self, verdict: TrialVerdict) {
        let Some(trial) = self.canary.take() else { return };
        self.put_in_force(ServingPlan { canary: None, ..self.plan.clone() });
        self.phase = Phase::Holding;
        self.learning.is_urgent = true;
        self.searched.is_due.get_or_insert(SwitchReason::Better);
        let items_per_request = self.arrivals.items_per_request();
        #[expect(clippy::cast_precision_loss, reason = "a count of items")]
        let usd_per_million =
            (trial.items > 0).then(|| trial.usd / trial.items as f64 * items_per_request * 1e6);
        self.emit(TunerAction::TrialEnded {
            trial: trial.number,
            verdict,
            batches: trial.batches,
            usd_per_million,
        });
    }
}
