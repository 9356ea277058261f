//! The production tuner as a controller.
//!
//! Rule: renewals of its belief run at once, at the end of the window that asked for them. Before a plan serves, its cold sizes are warmed
//! ([`optimizer_tuner::warm_up`], as in the server).
//! Deliberately absent: aliases that are missing, and tuners that panic (the server's control loop has tests of its own for those).

use std::collections::BTreeMap;

use gateway_contract::{
    Mebibytes, Rung, ServiceObservation, ServiceOutcome, ServingPlan, Timestamp, WindowStats,
};
use optimizer_tuner::environments::before_learning;
use optimizer_tuner::settings::SettingsError;
use optimizer_tuner::warm_up::{STAYS_WARM, cold_rungs};
use optimizer_tuner::{Economics, Tuner, TunerAction, TunerEvent, TunerReport, TunerSettings};

use super::{Controller, ControllerCounts, NextPlan};

/// Environments warmed by a plan change, by memory size, unless said otherwise.
const MAX_WARM_UP: u32 = 50;

/// Steers by the production tuner.
#[derive(Debug)]
pub struct TunerController {
    tuner: Tuner,
    counts: ControllerCounts,
    max_warm_up: u32,
    now: Timestamp,
    /// When a size last answered.
    answered: BTreeMap<Mebibytes, Timestamp>,
}

impl TunerController {
    /// A tuner that knows nothing yet.
    ///
    /// # Errors
    /// Settings that are out of range.
    pub fn new(
        settings: TunerSettings,
        base: ServingPlan,
        economics: Economics,
    ) -> Result<Self, SettingsError> {
        let environments = before_learning(&settings).or(base.environments);
        Tuner::new(settings, ServingPlan { environments, ..base }, economics).map(Self::of)
    }

    /// A tuner that may know something already.
    #[must_use]
    pub fn of(tuner: Tuner) -> Self {
        // The plan in force is about to be used: its sizes count as warm.
        let answered = tuner.plan().rungs.iter().map(|rung| (rung.memory_mib, Timestamp::ZERO)).collect();
        let counts = ControllerCounts::default();
        Self { tuner, counts, max_warm_up: MAX_WARM_UP, now: Timestamp::ZERO, answered }
    }

    /// With another bound of environments warmed by a plan change, by memory size; 0 warms none.
    #[must_use]
    pub fn with_max_warm_up(mut self, environments: u32) -> Self {
        self.max_warm_up = environments;
        self
    }

    /// The tuner.
    #[must_use]
    pub fn tuner(&self) -> &Tuner {
        &self.tuner
    }

    /// What the tuner knows.
    #[must_use]
    pub fn report(&self) -> TunerReport {
        self.tuner.report()
    }

    /// Gives the tuner back.
    #[must_use]
    pub fn into_tuner(self) -> Tuner {
        self.tuner
    }

    /// Takes a window in, without the renewals of the belief that follow.
    pub(crate) fn decide(&mut self, stats: &WindowStats) {
        self.now = stats.ended_at;
        self.tuner.handle_window(stats);
    }

    /// Renews the belief; then the plans that are wanted.
    pub(crate) fn take_plans(&mut self) -> Vec<NextPlan> {
        while let Some(refit) = self.tuner.start_refit() {
            self.tuner.finish_refit(refit.run());
        }
        let mut plans = Vec::new();
        while let Some(plan) = self.tuner.poll_plan() {
            // A report costs a prediction for each learned point: only where a plan changes.
            let busy = self.tuner.report().incumbent.map_or(1.0, |plan| plan.expected.concurrency);
            plans.push(self.warmed(plan, busy));
        }
        plans
    }

    fn warmed(&mut self, plan: ServingPlan, busy: f64) -> NextPlan {
        let is_warm =
            |rung: &Rung| self.answered.get(&rung.memory_mib).is_some_and(|&at| self.now - at < STAYS_WARM);
        let cold = cold_rungs(&plan, busy, self.max_warm_up, is_warm);
        let warm: Vec<(Mebibytes, u32)> =
            cold.into_iter().map(|(rung, count)| (rung.memory_mib, count)).collect();
        self.answered.extend(warm.iter().map(|&(memory, _)| (memory, self.now)));
        NextPlan { plan, warm }
    }
}

impl Controller for TunerController {
    fn initial_plan(&mut self) -> ServingPlan {
        self.tuner.plan().clone()
    }

    fn handle_observation(&mut self, observation: &ServiceObservation) {
        if observation.outcome == ServiceOutcome::Completed {
            self.answered.insert(observation.memory_mib, observation.at);
        }
        self.tuner.handle_observation(observation);
    }

    fn handle_window(&mut self, stats: &WindowStats) -> Vec<NextPlan> {
        self.decide(stats);
        self.take_plans()
    }

    fn poll_event(&mut self) -> Option<TunerEvent> {
        let event = self.tuner.poll_event()?;
        match event.what {
            TunerAction::TrialStarted { .. } => self.counts.trials += 1,
            TunerAction::ChangePoint { .. } => self.counts.change_points += 1,
            TunerAction::RolledBack { .. } => self.counts.rollbacks += 1,
            TunerAction::Switched { .. }
            | TunerAction::Refreshed { .. }
            | TunerAction::Kept { .. }
            | TunerAction::TrialEnded { .. }
            | TunerAction::Drift { .. }
            | TunerAction::MemoryFloor { .. }
            | TunerAction::Blind { .. }
            | TunerAction::Infeasible { .. }
            | TunerAction::Command { .. }
            | TunerAction::State { .. } => {}
        }
        Some(event)
    }

    fn counts(&self) -> ControllerCounts {
        self.counts
    }
}
