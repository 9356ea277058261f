//! The loop itself: when to take a turn, and what to do with what comes of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_contract::{ModelId, ServingPlan};
use optimizer_tuner::{Command, Refitted, TunerState};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::calls::{Calls, CallsDone, Purpose, is_final};
use super::decide::{Input, MakeTuner, Output, turn};
use super::events::log_event;
use super::handle::{CommandError, Message, Snapshots};
use super::model::ModelControl;
use super::store::Store;
use super::supervisor::Parts;
use crate::driver::Invoke;
use crate::lifecycle::{NotApplied, Steered};

/// Observations are handed over at most this often: a burst of batches is one turn.
const TURN_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for the driver to close a window; it answers at once unless it is stuck or was just restarted.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);
/// Learned state is written this often, if it changed.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// Attempts to bring the tuner's plan and the one in force together before it is left alone.
const MAX_RESYNCS: u32 = 3;

/// Owner of the tuners.
pub(super) struct ControlLoop<S> {
    pub(super) parts: Parts<S>,
    pub(super) make: Arc<MakeTuner>,
    pub(super) store: Option<Store>,
    pub(super) models: BTreeMap<ModelId, ModelControl>,
    snapshots: Arc<ArcSwap<Snapshots>>,
    /// Turns that other turns asked for.
    pub(super) queued: VecDeque<(ModelId, Input)>,
    pub(super) calls: JoinSet<CallsDone>,
    refits: JoinSet<(ModelId, Refitted)>,
    next_take: Instant,
    next_save: Instant,
}

impl<S: Invoke> ControlLoop<S> {
    /// Makes the tuners, with what was learned before.
    pub(super) async fn start(
        parts: Parts<S>,
        make: Arc<MakeTuner>,
        snapshots: Arc<ArcSwap<Snapshots>>,
    ) -> Self {
        let now = Instant::now();
        let settings = parts.fleet.settings();
        let store = settings.state_directory.as_deref().and_then(|directory| {
            let opened = Store::open(directory);
            opened.map_err(|error| tracing::error!(directory = %directory.display(), %error, "learned state cannot be kept")).ok()
        });
        let mut control = Self {
            parts,
            make,
            store,
            models: BTreeMap::new(),
            snapshots,
            queued: VecDeque::new(),
            calls: JoinSet::new(),
            refits: JoinSet::new(),
            next_take: now,
            next_save: now + SAVE_EVERY,
        };
        for steered in control.parts.fleet.steered() {
            control.add_model(steered).await;
        }
        control.run_queued().await;
        control.publish();
        control
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self, messages: &mut mpsc::Receiver<Message>) {
        let observations = self.parts.fleet.driver().observations().clone();
        loop {
            let now = Instant::now();
            let wake = self.next_wake(now);
            let takes = now >= self.next_take;
            tokio::select! {
                message = messages.recv() => match message {
                    None => return,
                    Some(Message::Stop(done)) => {
                        self.take_observations(Instant::now());
                        self.save_all().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(message) => self.handle_message(message).await,
                },
                () = observations.wait(), if takes => self.take_observations(Instant::now()),
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => match done {
                    Ok(done) => self.handle_calls(done),
                    Err(error) => tracing::error!(%error, "no-op calls ended without a result"),
                },
                Some(done) = self.refits.join_next(), if !self.refits.is_empty() => match done {
                    Ok((id, refitted)) => {
                        self.queued.push_back((id, Input { refitted: Some(refitted), ..Input::default() }));
                    }
                    Err(error) => tracing::error!(%error, "a fit of hyperparameters panicked; those before stay"),
                },
                () = tokio::time::sleep_until(wake) => {}
            }
            self.work().await;
        }
    }

    fn next_wake(&self, now: Instant) -> Instant {
        let windows = self.models.values().map(|model| model.next_window);
        let probes = self.models.values().filter_map(|model| model.next_probe.filter(|_| !model.is_probing));
        let held_back = (now < self.next_take).then_some(self.next_take);
        let soonest = windows.chain(probes).chain(held_back).min();
        soonest.map_or(self.next_save, |soonest| soonest.min(self.next_save))
    }

    /// Does all that is due.
    async fn work(&mut self) {
        self.run_queued().await;
        let now = Instant::now();
        let ids: Vec<ModelId> = self.models.keys().copied().collect();
        let mut is_window = false;
        for id in ids {
            let Some(model) = self.models.get(&id) else { continue };
            if model.next_window <= now {
                is_window = true;
                self.close_window(id).await;
            } else if !model.waiting.is_empty() {
                self.take_turn(id, Input::default()).await;
            }
        }
        self.run_queued().await;
        self.start_probes();
        if is_window {
            self.publish();
        }
        if self.next_save <= Instant::now() {
            self.save_all().await;
        }
    }

    async fn run_queued(&mut self) {
        while let Some((id, input)) = self.queued.pop_front() {
            self.take_turn(id, input).await;
        }
    }

    fn take_observations(&mut self, now: Instant) {
        self.next_take = now + TURN_EVERY;
        let queue = self.parts.fleet.driver().observations();
        self.parts.catalogue.observations_dropped.inc_by(queue.take_dropped());
        for observed in queue.take() {
            let id = observed.model;
            let Some(model) = self.models.get_mut(&id) else { continue };
            let refused = observed
                .refused
                .filter(|&cause| is_final(cause))
                .map(|cause| (cause, observed.qualifier.clone()));
            model.observe(observed, now);
            if let Some((cause, qualifier)) = refused {
                self.note_refused(now, id, cause, &qualifier);
            }
        }
    }

    async fn close_window(&mut self, id: ModelId) {
        let Some(model) = self.models.get_mut(&id) else { return };
        model.schedule_window(Instant::now());
        let percentile = model.steered.policy.slo_percentile;
        let closing = self.parts.fleet.driver().close_window(id, percentile);
        let Ok(Some(stats)) = tokio::time::timeout(DRIVER_PATIENCE, closing).await else {
            return;
        };
        // What ended within the window is told before it.
        self.take_observations(Instant::now());
        self.take_turn(id, Input { window: Some(stats), ..Input::default() }).await;
    }

    /// One turn of a model's tuner, with all observations that wait.
    pub(super) async fn take_turn(&mut self, id: ModelId, mut input: Input) {
        let Some(model) = self.models.get_mut(&id) else { return };
        input.observations = std::mem::take(&mut model.waiting);
        let stats = input.window.clone();
        if let Some(stats) = &stats {
            model.is_changed |= stats.requests > 0;
            model.last_window = stats.clone();
        }
        let Some(tuner) = model.tuner.take() else { return };
        match turn(tuner, input).await {
            Some((tuner, output)) => {
                if let Some(model) = self.models.get_mut(&id) {
                    model.tuner = Some(tuner);
                    if let Some(stats) = &stats {
                        model.metrics.window(stats, output.report.unbatched_usd_per_million);
                        model.metrics.report(&output.report, output.decision);
                    }
                }
                self.absorb(id, output, stats.is_some());
            }
            None => self.revive(id).await,
        }
    }

    /// Does what a turn asked for.
    fn absorb(&mut self, id: ModelId, output: Output, is_window: bool) {
        let Some(model) = self.models.get_mut(&id) else { return };
        for event in &output.events {
            model.metrics.acted(&event.what);
            log_event(&model.steered.name, event);
        }
        model.is_changed |= !output.events.is_empty();
        if let Some(refused) = &output.refused {
            tracing::error!(model = %model.steered.name, %refused, "the tuner does not take the new settings; it goes on with those before");
        }
        if let Some(state) = output.state {
            model.last_state = Some(state);
        }
        if let Some(refit) = output.refit {
            self.refits.spawn_blocking(move || (id, refit.run()));
        }
        model.note_report(output.report);
        match output.plan {
            Some(plan) => self.propose(id, plan),
            None if is_window => self.resync(id, output.revision),
            None => {}
        }
    }

    /// Puts a plan into force, after warming the aliases that it needs.
    fn propose(&mut self, id: ModelId, plan: ServingPlan) {
        let Some(model) = self.models.get_mut(&id) else { return };
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
                model.resyncs = 0;
                (model.steered.base.revision, model.steered.base.parent) = (plan.revision, plan.parent);
                model.steered.plan = plan;
                model.note_answers(Instant::now());
                model.is_changed = true;
            }
            Err(NotApplied::Gone) => {}
            Err(error @ (NotApplied::Stale { .. } | NotApplied::Invalid(_) | NotApplied::OutOfIds(_))) => {
                tracing::error!(model = %model.steered.name, %error, "a plan of the tuner was not put into force; the one before stays");
            }
        }
    }

    /// A plan that was not put into force leaves the tuner with another one than serves: it is shown the one that does.
    fn resync(&mut self, id: ModelId, revision: gateway_contract::PlanRevision) {
        let Some(model) = self.models.get_mut(&id) else { return };
        if revision == model.steered.plan.revision {
            model.resyncs = 0;
            return;
        }
        if model.switching.is_some() || model.resyncs >= MAX_RESYNCS {
            return;
        }
        model.resyncs += 1;
        let serving = &model.steered.plan;
        let safe = if model.uses_missing(serving) { model.steered.base.clone() } else { serving.clone() };
        self.show_plan(id, safe);
    }

    /// Makes the tuner go on from this plan.
    pub(super) fn show_plan(&mut self, id: ModelId, plan: ServingPlan) {
        let commands = vec![Command::Pin(Box::new(plan)), Command::Resume];
        self.queued.push_back((id, Input { commands, ..Input::default() }));
    }

    async fn handle_message(&mut self, message: Message) {
        match message {
            Message::Reload => self.reload().await,
            Message::Command { model, command, reply } => {
                let result = self.command(&model, command).await;
                let _ = reply.send(result);
            }
            Message::Stop(done) => drop(done), // handled by the caller
            #[cfg(test)]
            Message::Panic => panic!("asked to by a test"),
        }
    }

    async fn command(&mut self, name: &str, command: Command) -> Result<(), CommandError> {
        let found = self.models.iter_mut().find(|(_, model)| model.steered.name == name);
        let (&id, model) = found.ok_or_else(|| CommandError::UnknownModel(name.to_owned()))?;
        if model.tuner.is_none() {
            let text =
                "its tuner has stopped after panics; the plan in force stays until a reload or a restart";
            return Err(CommandError::Refused(text.to_owned()));
        }
        if command == Command::Forget {
            model.last_state = None;
            model.is_changed = true;
            self.next_save = Instant::now(); // what is on the disk is to go as well
        }
        tracing::info!(model = %name, ?command, "an operator's command");
        self.take_turn(id, Input { commands: vec![command], ..Input::default() }).await;
        self.run_queued().await;
        self.publish();
        Ok(())
    }

    async fn reload(&mut self) {
        let steered = self.parts.fleet.steered();
        let served: Vec<ModelId> = steered.iter().map(|model| model.id).collect();
        self.models.retain(|id, _| served.contains(id));
        for new in steered {
            match self.models.get_mut(&new.id) {
                None => self.add_model(new).await,
                Some(model) => {
                    let is_same = |old: &Steered| {
                        old.policy == new.policy && old.base == new.base && old.prices == new.prices
                    };
                    if !is_same(&model.steered) {
                        model.metrics.plan(&new.plan);
                        model.steered = new;
                        let id = model.steered.id;
                        model.next_window =
                            model.next_window.min(Instant::now() + model.steered.policy.window);
                        if model.tuner.is_none() {
                            self.revive(id).await;
                        }
                        self.queue_settings(id);
                    } else {
                        model.steered = new;
                    }
                }
            }
        }
        self.run_queued().await;
        self.publish();
    }

    /// Tells a tuner its settings as they are now.
    pub(super) fn queue_settings(&mut self, id: ModelId) {
        if let Some(model) = self.models.get(&id) {
            let settings = Some((model.policy(), model.steered.base.clone(), model.economics()));
            self.queued.push_back((id, Input { settings, ..Input::default() }));
        }
    }

    /// Writes what was learned, where it changed.
    async fn save_all(&mut self) {
        self.next_save = Instant::now() + SAVE_EVERY;
        let changed: Vec<ModelId> =
            self.models.iter().filter(|(_, model)| model.is_changed).map(|(&id, _)| id).collect();
        for id in changed {
            self.take_turn(id, Input { wants_state: true, ..Input::default() }).await;
            let Some(model) = self.models.get_mut(&id) else { continue };
            model.is_changed = false;
            if let Some(state) = model.last_state.clone() {
                self.write(id, state).await;
            }
        }
        self.run_queued().await;
    }

    async fn write(&mut self, id: ModelId, state: TunerState) {
        let (Some(store), Some(model)) = (self.store.clone(), self.models.get(&id)) else {
            return;
        };
        let (stored, name) = (model.stored(state), model.steered.name.clone());
        let written = tokio::task::spawn_blocking(move || store.save(&stored)).await;
        let result = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let label = if result.is_ok() { "success" } else { "failure" };
        self.parts.catalogue.state_saves.with_label_values(&[label]).inc();
        if let Err(error) = result {
            tracing::error!(model = %name, %error, "learned state was not written; it is tried again");
        }
    }

    /// Shows operators and readiness what is known.
    pub(super) fn publish(&self) {
        let all = self.models.values();
        let snapshots = all.map(|model| (model.steered.name.clone(), Arc::new(model.snapshot())));
        self.snapshots.store(Arc::new(snapshots.collect()));
    }
}
