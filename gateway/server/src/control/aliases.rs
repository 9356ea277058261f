//! Aliases that are not there, or behind which another worker runs: noticed by probes, warm-ups and refused batches.
//!
//! A missing alias of a size that may be chosen is taken out of the choice until it is there. If it is the configured plan's own,
//! nothing safe is left, and readiness says so until the alias answers.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_contract::{ModelId, Rung};
use gateway_invoker::RefusedCause;
use tokio::time::Instant;

use super::calls::{Called, Calls, CallsDone, Found, Purpose};
use super::task::ControlLoop;
use crate::driver::Invoke;
use crate::telemetry::control::Fallback;

/// While a model cannot be served its alias is probed at least this often, so that it serves again soon after it was mended.
const PROBE_WHILE_UNSERVABLE: Duration = Duration::from_secs(5);
/// Refused batches bring the next probe forward, but no closer to the last than this.
const PROBE_AFTER_REFUSAL: Duration = Duration::from_secs(1);

impl<S: Invoke> ControlLoop<S> {
    /// Starts the probes that are due.
    pub(super) fn start_probes(&mut self) {
        let now = Instant::now();
        for model in self.models.values_mut() {
            if model.is_probing || model.next_probe.is_none_or(|at| at > now) {
                continue;
            }
            model.is_probing = true;
            let calls = Calls::new(&model.steered, Purpose::Probe, model.probed_rungs());
            self.calls.spawn(calls.run(self.parts.invoker.clone()));
        }
    }

    /// A batch was refused for good.
    pub(super) fn note_refused(&mut self, now: Instant, id: ModelId, cause: RefusedCause, qualifier: &str) {
        let Some(model) = self.models.get_mut(&id) else { return };
        if model.is_base_alias(qualifier) {
            if let Some(next) = &mut model.next_probe {
                *next = (*next).min(now + PROBE_AFTER_REFUSAL);
            }
        } else if let Some(rung) = model.rung_of(qualifier) {
            self.alias_missing(id, rung, cause);
        }
    }

    /// No-op calls have ended.
    pub(super) fn handle_calls(&mut self, done: CallsDone) {
        let Some(model) = self.models.get_mut(&done.model) else { return };
        let purpose = match done.purpose {
            Purpose::WarmUp(_) => "warm_up",
            Purpose::Probe => "probe",
        };
        for called in &done.called {
            for (found, metering) in &called.found {
                let usd = metering.as_ref().map_or(0.0, |metering| {
                    let memory = metering.memory.unwrap_or(called.rung.memory_mib);
                    let steered = &model.steered;
                    steered.prices.invocation_usd(steered.architecture, memory, metering.billed)
                });
                model.metrics.called(purpose, found.label(), usd);
            }
        }
        match done.purpose {
            Purpose::Probe => self.probed(done.model, done.called),
            Purpose::WarmUp(revision) => {
                let refused =
                    done.called.into_iter().filter_map(|called| Some((refusal(&called)?, called.rung)));
                let refused: Vec<_> = refused.collect();
                let waiting = model.switching.take_if(|plan| plan.revision == revision);
                let is_usable = refused.is_empty();
                for (cause, rung) in refused {
                    self.alias_missing(done.model, rung, cause);
                }
                if let Some(plan) = waiting.filter(|_| is_usable) {
                    self.apply(done.model, plan);
                }
            }
        }
        self.publish_readiness();
    }

    fn probed(&mut self, id: ModelId, called: Vec<Called>) {
        let interval = self.parts.fleet.settings().probe_interval;
        let Some(model) = self.models.get_mut(&id) else { return };
        let mut unservable = None;
        let mut is_clear = true;
        let mut is_back = false;
        for called in called {
            let qualifier = &called.rung.qualifier;
            let is_base = model.is_base_alias(qualifier);
            match called.found.first().map(|(found, _)| found) {
                Some(Found::Answers) => {
                    if model.missing.remove(qualifier).is_some() {
                        is_back = true;
                        tracing::info!(model = %model.steered.name, alias = %qualifier, "an alias that was missing answers; its size may be chosen again");
                    }
                }
                Some(Found::Refused(cause)) if is_base => {
                    unservable = Some(format!(
                        "alias `{qualifier}` of function `{}`: {cause}",
                        model.steered.function
                    ));
                }
                Some(Found::Refused(_)) => {}
                Some(Found::Unclear) | None => is_clear &= !is_base,
            }
        }
        match &unservable {
            Some(why) if model.unservable.as_ref() != Some(why) => {
                model.metrics.fell_back(Fallback::AliasMissing);
                tracing::error!(model = %model.steered.name, %why, "THE CONFIGURED PLAN CANNOT BE SERVED: not ready until it can; `penstock provision` makes the aliases");
            }
            None if model.unservable.is_some() && is_clear => {
                tracing::info!(model = %model.steered.name, "the configured plan can be served again");
            }
            _ => {}
        }
        if unservable.is_some() || is_clear {
            model.unservable = unservable;
        }
        (model.is_probing, model.is_probed) = (false, true);
        let pause = if model.unservable.is_some() {
            interval.map(|interval| interval.min(PROBE_WHILE_UNSERVABLE))
        } else {
            interval
        };
        model.next_probe = pause.map(|pause| Instant::now() + pause);
        if is_back {
            self.queue_settings(id);
        }
    }

    /// Takes a size out of the choice.
    fn alias_missing(&mut self, id: ModelId, rung: Rung, cause: RefusedCause) {
        let Some(model) = self.models.get_mut(&id) else { return };
        if model.is_base_alias(&rung.qualifier) || model.missing.contains_key(&rung.qualifier) {
            return;
        }
        model.metrics.fell_back(Fallback::AliasMissing);
        tracing::error!(
            model = %model.steered.name, function = %model.steered.function, alias = %rung.qualifier, memory_mib = rung.memory_mib.0, %cause,
            "ALIAS CANNOT BE USED: its size is taken out of the choice; `penstock provision` makes it"
        );
        model.missing.insert(rung.qualifier.clone(), rung);
        self.queue_settings(id);
    }

    /// Tells readiness which models cannot be served.
    pub(super) fn publish_readiness(&self) {
        let unservable = self
            .models
            .values()
            .filter_map(|model| Some((model.steered.name.clone(), model.unservable.clone()?)));
        self.parts.readiness.set_unservable(unservable.collect::<BTreeMap<_, _>>());
        if self.models.values().all(|model| model.is_probed || model.next_probe.is_none()) {
            self.parts.readiness.set_probed();
        }
    }
}

fn refusal(called: &Called) -> Option<RefusedCause> {
    called.found.iter().find_map(|(found, _)| match found {
        Found::Refused(cause) => Some(*cause),
        Found::Answers | Found::Unclear => None,
    })
}
