//! The production tuner as a controller.
//!
//! Rule: renewals of its belief run at once, at the end of the window that asked for them. Before a plan serves, as many environments of each of
//! its sizes are wanted as the plan is expected to keep busy, and one more, at most the budget; one for a canary.
//! Deliberately absent: aliases that are missing, and tuners that panic (the server's control loop has tests of its own for those).

use gateway_contract::{Mebibytes, ServiceObservation, ServingPlan, WindowStats};
use optimizer_tuner::settings::SettingsError;
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
        Tuner::new(settings, base, economics).map(Self::of)
    }

    /// A tuner that may know something already.
    #[must_use]
    pub fn of(tuner: Tuner) -> Self {
        Self { tuner, counts: ControllerCounts::default(), max_warm_up: MAX_WARM_UP }
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
            let expected = self.tuner.report().incumbent.map_or(1.0, |plan| plan.expected.concurrency);
            plans.push(self.warmed(plan, expected));
        }
        plans
    }

    fn warmed(&self, plan: ServingPlan, expected: f64) -> NextPlan {
        if self.max_warm_up == 0 {
            return NextPlan::at_once(plan);
        }
        let expected = if expected.is_finite() { expected } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded count")]
        let wanted = expected.ceil().clamp(1.0, f64::from(self.max_warm_up)) as u32 + 1;
        let mut warm: Vec<(Mebibytes, u32)> = Vec::new();
        let canary = plan.canary.iter().map(|canary| (canary.rung.memory_mib, 1));
        for (memory, count) in plan.rungs.iter().map(|rung| (rung.memory_mib, wanted)).chain(canary) {
            if !warm.iter().any(|(known, _)| *known == memory) {
                warm.push((memory, count));
            }
        }
        NextPlan { plan, warm }
    }
}

impl Controller for TunerController {
    fn initial_plan(&mut self) -> ServingPlan {
        self.tuner.plan().clone()
    }

    fn handle_observation(&mut self, observation: &ServiceObservation) {
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
