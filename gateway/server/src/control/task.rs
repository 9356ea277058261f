//! The loop itself: when to take a turn, and what to do with what comes of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_contract::ModelId;
use optimizer_tuner::{Command, Refitted};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::calls::{CallsDone, is_final};
use super::claim::{self, Claim};
use super::decide::{Input, MakeTuner, Output, turn};
use super::events::log_event;
use super::handle::{Believed, CommandError, Message, Snapshots};
use super::history::Histories;
use super::model::ModelControl;
use super::saving::SAVE_EVERY;
use super::shared::Shared;
use super::state_copy::StateCopy;
use super::store::Store;
use super::supervisor::Parts;
use crate::driver::Invoke;
use crate::lifecycle::Steered;

/// Observations are handed over at most this often: a burst of batches is one turn.
const TURN_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for the driver to close a window; it answers at once unless it is stuck or was just restarted.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);
/// Reports are made at most this often; a little less than a second, so that windows of one second have one each.
const REPORT_EVERY: Duration = Duration::from_millis(900);
/// A surface serves all who ask within this time.
const SURFACE_EVERY: Duration = Duration::from_secs(1);

/// Owner of the tuners.
pub(super) struct ControlLoop<S> {
    pub(super) parts: Parts<S>,
    pub(super) make: Arc<MakeTuner>,
    pub(super) store: Option<Store>,
    pub(super) copy: Option<StateCopy>,
    pub(super) claim: Claim,
    pub(super) shared: Option<Shared>,
    pub(super) models: BTreeMap<ModelId, ModelControl>,
    snapshots: Arc<ArcSwap<Snapshots>>,
    pub(super) histories: Histories,
    /// Turns that other turns asked for.
    pub(super) queued: VecDeque<(ModelId, Input)>,
    pub(super) calls: JoinSet<CallsDone>,
    /// `None`: it panicked.
    refits: JoinSet<(ModelId, Option<Refitted>)>,
    next_take: Instant,
    pub(super) next_save: Instant,
    next_claim: Instant,
}

impl<S: Invoke> ControlLoop<S> {
    /// Makes the tuners, with what was learned before.
    pub(super) async fn start(
        parts: Parts<S>,
        make: Arc<MakeTuner>,
        snapshots: Arc<ArcSwap<Snapshots>>,
        histories: Histories,
    ) -> Self {
        let now = Instant::now();
        let settings = parts.fleet.settings();
        let store = settings.state_directory.as_deref().and_then(|directory| {
            let opened = Store::open(directory);
            opened.map_err(|error| tracing::error!(directory = %directory.display(), %error, "learned state cannot be kept")).ok()
        });
        let copy = settings.state_copy.as_deref().filter(|_| store.is_some()).and_then(|url| {
            let opened = StateCopy::open(url);
            opened.map_err(|error| tracing::error!(%error, "learned state is not copied")).ok()
        });
        let claim = Claim::new(settings.state_directory.as_deref().filter(|_| store.is_some()));
        let shared = settings.state_shared.as_deref().and_then(|url| {
            let opened = Shared::open(url, &parts.identity, settings.lease);
            opened.map_err(|error| tracing::error!(%error, "nothing is shared with other gateways")).ok()
        });
        let mut control = Self {
            claim,
            shared,
            next_claim: now,
            parts,
            make,
            store,
            copy,
            models: BTreeMap::new(),
            snapshots,
            histories,
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
        control.publish_readiness();
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
                        if let Some(copy) = &mut self.copy {
                            copy.finish().await;
                        }
                        self.release_leases().await;
                        self.claim.release();
                        let _ = done.send(());
                        return;
                    }
                    Some(message) => self.handle_message(message).await,
                },
                done = Shared::done(self.shared.as_mut()) => {
                    self.handle_shared(done).await;
                    self.publish();
                }
                () = observations.wait(), if takes => self.take_observations(Instant::now()),
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => match done {
                    Ok(done) => {
                        self.handle_calls(done);
                        self.publish();
                    }
                    Err(error) => tracing::error!(%error, "no-op calls ended without a result"),
                },
                Some(done) = self.refits.join_next(), if !self.refits.is_empty() => match done {
                    Ok((id, Some(refitted))) => {
                        self.queued.push_back((id, Input { refitted: Some(refitted), ..Input::default() }));
                    }
                    Ok((id, None)) => self.revive(id).await, // its tuner would wait for the result for ever
                    Err(error) => tracing::error!(%error, "a fit ended without a result"),
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
        let claims = (!self.claim.is_held()).then_some(self.next_claim);
        let leases = self.models.values().filter_map(|model| model.lease.as_ref()?.wake());
        let soonest = windows.chain(probes).chain(held_back).chain(claims).chain(leases).min();
        soonest.map_or(self.next_save, |soonest| soonest.min(self.next_save))
    }

    /// Does all that is due.
    async fn work(&mut self) {
        self.claim_state().await;
        self.tend_leases().await;
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

    /// Takes the right to learn once the process that had it has gone, and goes on with what that one wrote last.
    async fn claim_state(&mut self) {
        let now = Instant::now();
        if self.claim.is_held() || now < self.next_claim {
            return;
        }
        self.next_claim = now + claim::LOOK_EVERY;
        if self.claim.look() && self.shared.is_none() {
            tracing::info!("this gateway learns from now on");
            for id in self.models.keys().copied().collect::<Vec<_>>() {
                self.lead(id, true).await;
            }
        }
    }

    pub(super) async fn run_queued(&mut self) {
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
        let Ok(Some(closed)) = tokio::time::timeout(DRIVER_PATIENCE, closing).await else {
            return;
        };
        // What ended within the window is told before it.
        self.take_observations(Instant::now());
        let Some(model) = self.models.get_mut(&id) else { return };
        let now = Instant::now();
        let wants_report = now >= model.next_report;
        if wants_report {
            model.next_report = now + REPORT_EVERY;
        }
        let window = Some(closed.stats.clone());
        self.take_turn(id, Input { window, wants_report, ..Input::default() }).await;
        if let Some(model) = self.models.get(&id) {
            model.history.window(&closed, &model.report);
        }
    }

    /// One turn of a model's tuner, with all observations that wait.
    pub(super) async fn take_turn(&mut self, id: ModelId, mut input: Input) {
        self.still_leads(id);
        let Some(model) = self.models.get_mut(&id) else { return };
        input.observations = std::mem::take(&mut model.waiting);
        let stats = input.window.clone();
        if let Some(stats) = &stats {
            model.is_changed |= stats.requests > 0;
            model.last_window = stats.clone();
        }
        let Some(tuner) = model.tuner.take() else {
            if let Some(stats) = &stats {
                model.metrics.window(stats, model.report.unbatched_usd_per_million);
            }
            return;
        };
        match turn(tuner, input).await {
            // The lease may have ended meanwhile: then another gateway decides, and this one's decision is void.
            Some(_) if !self.still_leads(id) => {}
            Some((tuner, output)) => {
                if let Some(model) = self.models.get_mut(&id) {
                    model.tuner = Some(tuner);
                    if let Some(stats) = &stats {
                        model.metrics.decided(output.decision);
                        let unbatched =
                            output.report.as_ref().unwrap_or(&model.report).unbatched_usd_per_million;
                        model.metrics.window(stats, unbatched);
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
            model.history.decision(event);
            log_event(&model.steered.name, event);
        }
        model.is_changed |= !output.events.is_empty();
        model.is_published_changed |= !output.events.is_empty();
        if let Some(refused) = &output.refused {
            tracing::error!(model = %model.steered.name, %refused, "the tuner does not take the new settings; it goes on with those before");
        }
        if let Some(state) = output.state {
            self.parts.fleet.note_learned(&model.steered.name, state.clone());
            model.last_state = Some(state);
        }
        if let Some(refit) = output.refit {
            self.refits.spawn_blocking(move || {
                let run = std::panic::AssertUnwindSafe(|| refit.run());
                (id, std::panic::catch_unwind(run).ok())
            });
        }
        if let Some(report) = output.report {
            model.note_report(report);
        }
        if let Some(surface) = output.surface {
            model.surface = Some((Instant::now(), surface.map(Arc::new)));
        }
        match output.plan {
            Some(plan) => self.propose(id, plan),
            None if is_window => self.resync(id, output.revision),
            None => {}
        }
    }

    async fn handle_message(&mut self, message: Message) {
        match message {
            Message::Reload => self.reload().await,
            Message::Command { model, command, reply } => {
                let result = self.command(&model, command).await;
                let _ = reply.send(result);
            }
            Message::Surface { model, reply } => {
                let result = self.surface(&model).await;
                let _ = reply.send(result);
            }
            Message::Ping(reply) => {
                let _ = reply.send(());
            }
            Message::Stop(done) => drop(done), // handled by the caller
            #[cfg(test)]
            Message::Panic => panic!("asked to by a test"),
        }
    }

    async fn surface(&mut self, name: &str) -> Result<Believed, CommandError> {
        let found = self.models.iter().find(|(_, model)| model.steered.name == name);
        let (&id, model) = found.ok_or_else(|| CommandError::UnknownModel(name.to_owned()))?;
        let now = Instant::now();
        let is_fresh = |at: Instant| now.duration_since(at) < SURFACE_EVERY;
        if !model.surface.as_ref().is_some_and(|(at, _)| is_fresh(*at)) {
            self.take_turn(id, Input { wants_surface: true, ..Input::default() }).await;
            self.run_queued().await;
        }
        let asked = self.models.get(&id).and_then(|model| model.surface.clone());
        Ok(asked.and_then(|(_, surface)| surface))
    }

    async fn command(&mut self, name: &str, command: Command) -> Result<(), CommandError> {
        let found = self.models.iter_mut().find(|(_, model)| model.steered.name == name);
        let (&id, model) = found.ok_or_else(|| CommandError::UnknownModel(name.to_owned()))?;
        if !model.leads {
            let leader = model.lease.as_ref().and_then(|lease| lease.leader()).unwrap_or("another gateway");
            return Err(CommandError::Refused(format!("{leader} decides for this model: tell that one")));
        }
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
        let input = Input { commands: vec![command], wants_report: true, ..Input::default() };
        self.take_turn(id, input).await;
        self.run_queued().await;
        self.publish();
        Ok(())
    }

    async fn reload(&mut self) {
        let now = self.parts.fleet.driver().now();
        let steered = self.parts.fleet.steered();
        let probe_interval = self.parts.fleet.settings().probe_interval;
        let served: Vec<ModelId> = steered.iter().map(|model| model.id).collect();
        self.models.retain(|id, _| served.contains(id));
        self.histories.retain(|name| steered.iter().any(|model| model.name == name));
        for new in steered {
            match self.models.get_mut(&new.id) {
                None => self.add_model(new).await,
                Some(model) => {
                    let is_same = |old: &Steered| {
                        old.policy == new.policy && old.base == new.base && old.prices == new.prices
                    };
                    if !is_same(&model.steered) {
                        model.metrics.plan(&new.plan);
                        model.history.plan(now, &new.plan);
                        model.steered = new;
                        let id = model.steered.id;
                        model.next_probe = probe_interval.map(|_| Instant::now());
                        model.next_window =
                            model.next_window.min(Instant::now() + model.steered.policy.window);
                        if model.leads && model.tuner.is_none() {
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
        self.publish_readiness(); // a model that is gone holds nobody back
        self.publish();
    }

    /// Tells a tuner its settings as they are now.
    pub(super) fn queue_settings(&mut self, id: ModelId) {
        if let Some(model) = self.models.get(&id) {
            let settings = Some((model.policy(), model.steered.base.clone(), model.economics()));
            self.queued.push_back((id, Input { settings, ..Input::default() }));
        }
    }

    /// Shows operators and readiness what is known.
    pub(super) fn publish(&self) {
        let all = self.models.values();
        let snapshots = all.map(|model| (model.steered.name.clone(), Arc::new(model.snapshot())));
        self.snapshots.store(Arc::new(snapshots.collect()));
    }
}
