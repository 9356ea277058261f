//! How a tuner begins: fresh, from the disk, or again after a panic.

use std::time::Duration;

use gateway_contract::{ModelId, PlanRevision, ServingPlan};
use optimizer_tuner::TunerState;
use tokio::time::Instant;

use super::decide::{Decide, Input};
use super::model::ModelControl;
use super::point::StoredPlan;
use super::shared::ModelLease;
use super::state_copy::StateCopy;
use super::store::{LoadError, Store, StoredState, decode};
use super::task::ControlLoop;
use crate::driver::Invoke;
use crate::lifecycle::Steered;
use crate::telemetry::ControlMetrics;
use crate::telemetry::control::Fallback;

/// Panics that follow one another within this time count together.
const PANIC_WINDOW: Duration = Duration::from_secs(600);
/// After so many the learned state is under suspicion, and the tuner begins without it.
const PANICS_WITH_STATE: u32 = 2;
/// After so many a new tuner does not help; the plan in force stays.
const MAX_PANICS: u32 = 5;

impl<S: Invoke> ControlLoop<S> {
    /// Takes a model up, with what was learned of it before this process.
    pub(super) async fn add_model(&mut self, steered: Steered) {
        let now = Instant::now();
        let metrics = ControlMetrics::new(self.parts.catalogue.clone(), &steered.name);
        let history = self.histories.of(&steered.name);
        history.plan(self.parts.fleet.driver().now(), &steered.plan);
        let mut model = ModelControl::new(steered, metrics, history, now);
        model.next_probe = self.parts.fleet.settings().probe_interval.map(|_| now);
        let id = model.steered.id;
        // After a restart of the loop alone, the plan in force is newer than the one on the disk.
        let is_first = model.steered.plan == model.steered.base;
        model.lease = self.shared.as_ref().map(|shared| ModelLease::new(shared, now));
        let is_shared = model.lease.is_some();
        self.models.insert(id, model);
        if self.claim.is_held() && !is_shared {
            self.lead(id, is_first).await;
        } else {
            self.follow_disk(id).await;
        }
    }

    /// Serves what another gateway wrote, while it learns.
    async fn follow_disk(&mut self, id: ModelId) {
        let Some(model) = self.models.get(&id) else { return };
        let stored = load(self.store.clone(), self.copy.as_ref(), &model.steered, &model.metrics).await;
        if let Some(plan) = stored.and_then(|stored| stored.plan) {
            self.follow(id, &plan);
        }
    }

    /// Takes a model's tuner up, with what was learned before: this gateway decides from now on. Serves the stored plan, or goes on with the one
    /// in force.
    pub(super) async fn lead(&mut self, id: ModelId, from_stored: bool) {
        let Some(model) = self.models.get(&id) else { return };
        let stored = load(self.store.clone(), self.copy.as_ref(), &model.steered, &model.metrics).await;
        self.lead_from(id, stored, from_stored).await;
    }

    /// As [`Self::lead`], from what was read already.
    pub(super) async fn lead_from(&mut self, id: ModelId, stored: Option<StoredState>, from_stored: bool) {
        let Some(model) = self.models.get_mut(&id) else { return };
        (model.leads, model.switching) = (true, None);
        let stored_plan = stored.as_ref().and_then(|stored| {
            let allowed = model.policy().bounds.memory_mib;
            stored.plan.as_ref()?.plan(&model.steered.base, &allowed)
        });
        if stored.is_none() {
            model.waiting = std::mem::take(&mut model.steered.first_observations);
            if !model.waiting.is_empty() {
                let (name, observations) = (&model.steered.name, model.waiting.len());
                tracing::info!(model = %name, observations, "the tuner begins with what a profile has measured");
            }
        }
        model.last_state = stored.map(|stored| stored.tuner);
        if let Some(state) = &model.last_state {
            self.parts.fleet.note_learned(&model.steered.name, state.clone());
        }
        let is_steered = model.steered.policy.policy.chooses();
        let wanted = if from_stored { stored_plan } else { Some(model.steered.plan.clone()) };
        self.begin(id, true).await;
        self.go_on_from(id, wanted.filter(|_| is_steered)).await;
    }

    /// Serves a plan that another gateway has chosen.
    pub(super) fn follow(&mut self, id: ModelId, plan: &StoredPlan) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let allowed = model.policy().bounds.memory_mib;
        let chosen =
            plan.plan(&model.steered.base, &allowed).filter(|_| model.steered.policy.policy.chooses());
        let Some(plan) = chosen else { return };
        let in_force = model.switching.as_ref().unwrap_or(&model.steered.plan);
        if StoredPlan::of(in_force) != StoredPlan::of(&plan) {
            let parent = model.steered.plan.revision;
            let revision = PlanRevision(parent.0 + 1);
            self.propose(id, ServingPlan { revision, parent: Some(parent), ..plan });
        }
    }

    /// Lets a new tuner say what it wants to serve; shows it `wanted` if it says nothing.
    async fn go_on_from(&mut self, id: ModelId, wanted: Option<ServingPlan>) {
        let revision = |control: &Self| {
            let model = control.models.get(&id)?;
            Some((model.steered.plan.revision, model.switching.as_ref().map(|plan| plan.revision)))
        };
        let before = revision(self);
        self.take_turn(id, Input { wants_report: true, ..Input::default() }).await;
        if let Some(plan) = wanted.filter(|_| revision(self) == before) {
            self.show_plan(id, plan);
        }
    }

    /// A tuner has panicked: another one takes over, first with what was saved last, then without.
    pub(super) async fn revive(&mut self, id: ModelId) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let now = Instant::now();
        let (count, last) = model.panics;
        let count = if now.duration_since(last) < PANIC_WINDOW { count + 1 } else { 1 };
        model.panics = (count, now);
        model.switching = None;
        model.metrics.fell_back(Fallback::Panic);
        self.parts.catalogue.control_restarts.inc();
        let name = &model.steered.name;
        if count > MAX_PANICS {
            tracing::error!(model = %name, count, "the tuner panics again and again and stays off; the plan in force stays");
            return;
        }
        let with_state = count <= PANICS_WITH_STATE;
        tracing::error!(model = %name, count, with_state, "the tuner panicked; the plan in force stays and another tuner takes over");
        let plan = model.steered.plan.clone();
        let is_chosen = model.steered.base != plan;
        self.begin(id, with_state).await;
        Box::pin(self.go_on_from(id, is_chosen.then_some(plan))).await; // boxed: a turn may end here again
    }

    /// Makes a tuner, away from the serving threads: taking state up may be heavy, and may panic on state that is wrong.
    async fn begin(&mut self, id: ModelId, with_state: bool) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let (settings, base, economics) = (model.policy(), model.steered.base.clone(), model.economics());
        let state = model.last_state.clone().filter(|_| with_state);
        let had_state = state.is_some();
        let make = self.make.clone();
        let made =
            tokio::task::spawn_blocking(move || -> Result<(Box<dyn Decide>, Option<String>), String> {
                let mut tuner = make(settings, base, economics).map_err(|error| error.to_string())?;
                let restored = state.map(|state: TunerState| tuner.restore(state));
                let refused = restored.and_then(Result::err).map(|error| error.to_string());
                Ok((tuner, refused))
            });
        let Some(model) = self.models.get_mut(&id) else { return };
        let name = model.steered.name.clone();
        let made = made.await;
        let refused = match made {
            Ok(Ok((tuner, refused))) => {
                model.tuner = Some(tuner);
                if had_state && refused.is_none() {
                    tracing::info!(model = %name, "learned state was taken up");
                }
                refused
            }
            Ok(Err(reason)) => {
                tracing::error!(model = %name, %reason, "no tuner: the plan in force stays");
                return;
            }
            Err(_) if had_state => Some("it makes the tuner panic".to_owned()),
            Err(error) => {
                tracing::error!(model = %name, %error, "no tuner: the plan in force stays");
                return;
            }
        };
        if let Some(reason) = refused {
            self.reject_state(id, reason);
            if self.models.get(&id).is_some_and(|model| model.tuner.is_none()) {
                Box::pin(self.begin(id, false)).await;
            }
        }
    }

    /// The state's form holds, but the tuner does not take it.
    fn reject_state(&mut self, id: ModelId, reason: String) {
        let Some(model) = self.models.get_mut(&id) else { return };
        model.last_state = None;
        model.metrics.fell_back(Fallback::CorruptState);
        let aside = self.store.as_ref().map(|store| store.set_aside(&model.steered.name, reason.clone()));
        let kept = aside.and_then(Result::ok).map(|error| error.to_string());
        tracing::error!(model = %model.steered.name, %reason, kept, "LEARNED STATE CANNOT BE USED: the configured plan serves, and learning begins anew");
    }
}

/// Reads what was learned of a model before this process.
async fn load(
    store: Option<Store>,
    copy: Option<&StateCopy>,
    steered: &Steered,
    metrics: &ControlMetrics,
) -> Option<StoredState> {
    let (store, name) = (store?, steered.name.clone());
    let mut loaded = tokio::task::spawn_blocking(move || store.load(&name)).await.ok()?;
    if let (Ok(None), Some(copy)) = (&loaded, copy) {
        loaded = Ok(load_copy(copy, &steered.name).await);
    }
    match loaded {
        Ok(Some(stored)) if stored.manifest != steered.manifest || *stored.function != *steered.function => {
            tracing::info!(
                model = %steered.name, learned_of = ?stored.manifest,
                "learned state is of another model version or function and is left aside; learning begins anew"
            );
            None
        }
        Ok(stored) => stored,
        Err(error @ (LoadError::Corrupt { .. } | LoadError::Unreadable(_))) => {
            metrics.fell_back(Fallback::CorruptState);
            tracing::error!(
                model = %steered.name, %error,
                "LEARNED STATE CANNOT BE USED: the configured plan serves, and learning begins anew"
            );
            None
        }
    }
}

/// What a gateway on another host learned, where this one's disk has nothing.
async fn load_copy(copy: &StateCopy, model: &str) -> Option<StoredState> {
    let read = copy.read(model).await;
    match read.and_then(|bytes| bytes.map(|bytes| decode(&bytes, model)).transpose()) {
        Ok(stored) => {
            tracing::info!(%model, found = stored.is_some(), "the disk has no learned state; its copy was asked");
            stored
        }
        Err(error) => {
            tracing::error!(%model, %error, "the copy of the learned state cannot be used; learning begins anew");
            None
        }
    }
}
