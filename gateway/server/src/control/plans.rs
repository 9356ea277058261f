//! Plans on their way into force, and how tuner and shell stay of one mind about which one serves.

use gateway_contract::{ModelId, PlanRevision, ServingPlan};
use optimizer_tuner::Command;
use tokio::time::Instant;

use super::calls::{Calls, Purpose};
use super::decide::Input;
use super::task::ControlLoop;
use crate::driver::Invoke;
use crate::lifecycle::NotApplied;

/// Attempts to bring the tuner's plan and the one in force together before it is left alone.
const MAX_RESYNCS: u32 = 3;

impl<S: Invoke> ControlLoop<S> {
    /// Puts a plan into force, after warming the aliases that it needs.
    pub(super) fn propose(&mut self, id: ModelId, mut plan: ServingPlan) {
        let Some(model) = self.models.get_mut(&id) else { return };
        model.name_aliases(&mut plan);
        model.switching = None; // superseded, if there was one
        if model.uses_missing(&plan) {
            tracing::warn!(model = %model.steered.name, revision = %plan.revision.0, "a plan names an alias that is missing; it is not put into force");
            return;
        }
        let cold = model.cold_rungs(&plan, Instant::now());
        if cold.is_empty() {
            return self.apply(id, plan);
        }
        let counts: Vec<String> =
            cold.iter().map(|(rung, count)| format!("{count} × `{}`", rung.qualifier)).collect();
        tracing::info!(model = %model.steered.name, revision = %plan.revision.0, sandboxes = %counts.join(", "), "warming before a switch");
        let calls = Calls::new(&model.steered, Purpose::WarmUp(plan.revision), cold);
        model.switching = Some(plan);
        self.calls.spawn(calls.run(self.parts.invoker.clone()));
    }

    pub(super) fn apply(&mut self, id: ModelId, plan: ServingPlan) {
        let Some(model) = self.models.get_mut(&id) else { return };
        match self.parts.fleet.set_plan(plan.clone()) {
            Ok(()) => {
                model.metrics.plan(&plan);
                model.history.plan(self.parts.fleet.driver().now(), &plan);
                model.resyncs = 0;
                (model.steered.base.revision, model.steered.base.parent) = (plan.revision, plan.parent);
                model.steered.plan = plan;
                model.note_answers(Instant::now());
                model.is_changed = true;
                if let Some(lease) = &mut model.lease {
                    lease.next = Instant::now(); // the others are told at once
                }
            }
            Err(NotApplied::Gone) => {}
            Err(error @ (NotApplied::Stale { .. } | NotApplied::Invalid(_) | NotApplied::OutOfIds(_))) => {
                tracing::error!(model = %model.steered.name, %error, "a plan of the tuner was not put into force; the one before stays");
            }
        }
    }

    /// A plan that was not put into force leaves the tuner with another one than serves: it is shown the one that does.
    pub(super) fn resync(&mut self, id: ModelId, revision: PlanRevision) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let serves_nowhere = model.uses_missing(&model.steered.plan);
        if revision == model.steered.plan.revision && !serves_nowhere {
            model.resyncs = 0;
            return;
        }
        if model.switching.is_some() || model.resyncs >= MAX_RESYNCS {
            return;
        }
        model.resyncs += 1;
        let safe = if serves_nowhere { model.steered.base.clone() } else { model.steered.plan.clone() };
        self.show_plan(id, safe);
    }

    /// Makes the tuner go on from this plan.
    pub(super) fn show_plan(&mut self, id: ModelId, plan: ServingPlan) {
        let commands = vec![Command::Pin(Box::new(plan)), Command::Resume];
        self.queued.push_back((id, Input { commands, ..Input::default() }));
    }
}
