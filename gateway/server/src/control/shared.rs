//! Several gateways: of each model one decides, and the others serve what it publishes.
//!
//! The lease, its store and why no two decide at a time are `gateway-lease`'s. Here is what the loop does with it. The leader learns from its own traffic,
//! which a load balancer makes like that of the others, and publishes plan and learned state with each beat. The others hand nothing to a tuner; they read
//! the record as often as it is written, and serve its plan, warmed as any other. One that takes over goes on with what was published last.
//!
//! *The store cannot be reached.* Everybody serves on with the plan in force. Who leads stops deciding when its lease ends, since another may have begun;
//! who follows learns of no new plan. Nothing else depends on the store, at the start neither: the plan of this host's disk, or the configured one, serves.

use std::time::Duration;

use gateway_contract::ModelId;
use gateway_lease::{Found, Head, Lease, Record, Seen, Store, StoreError, Tag};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::decide::Input;
use super::point::StoredPlan;
use super::saving::SAVE_EVERY;
use super::store::{StoredState, decode, encode};
use super::task::ControlLoop;
use crate::driver::Invoke;

/// The last writes, which give leases up, are not waited for longer.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// The store, and what is under way with it.
pub(super) struct Shared {
    store: Store,
    me: String,
    length: Duration,
    io: JoinSet<Done>,
    /// What moments are counted from.
    origin: Instant,
}

/// One model's lease.
pub(super) struct ModelLease {
    lease: Lease,
    /// The record as it was seen or written last.
    tag: Option<Tag>,
    /// What it carries.
    body: Vec<u8>,
    /// When to look or to write next.
    pub(super) next: Instant,
    is_busy: bool,
    /// Whether the last write may or may not have happened.
    must_look: bool,
    /// Whether the store did not answer last time.
    is_cut_off: bool,
    /// When the tuner was last asked for what it learned.
    state_taken: Option<Instant>,
    /// For people.
    leader: Option<String>,
}

/// What came of a call.
pub(super) struct Done {
    model: ModelId,
    what: What,
}

enum What {
    Read(Result<Option<Found>, StoreError>),
    Wrote { began: Instant, head: Head, body: Vec<u8>, result: Result<Tag, StoreError> },
}

impl Shared {
    pub(super) fn open(url: &str, me: &str, length: Duration) -> Result<Self, StoreError> {
        let (store, io) = (Store::open(url)?, JoinSet::new());
        Ok(Self { store, me: me.to_owned(), length, io, origin: Instant::now() })
    }

    fn moment(&self, at: Instant) -> Duration {
        at.duration_since(self.origin)
    }

    /// The next call that has ended; never, if none is under way.
    pub(super) async fn done(shared: Option<&mut Self>) -> Done {
        if let Some(shared) = shared {
            while let Some(done) = shared.io.join_next().await {
                match done {
                    Ok(done) => return done,
                    Err(error) => {
                        tracing::error!(%error, "a call to the shared store ended without a result")
                    }
                }
            }
        }
        std::future::pending().await
    }
}

impl ModelLease {
    pub(super) fn new(shared: &Shared, now: Instant) -> Self {
        Self {
            lease: Lease::new(shared.me.clone(), shared.length),
            tag: None,
            body: Vec::new(),
            next: now,
            is_busy: false,
            must_look: false,
            is_cut_off: false,
            state_taken: None,
            leader: None,
        }
    }

    /// When it is to be looked after; `None`: a call is under way.
    pub(super) fn wake(&self) -> Option<Instant> {
        (!self.is_busy).then_some(self.next)
    }

    pub(super) fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }
}

impl<S: Invoke> ControlLoop<S> {
    /// Whether this gateway decides for a model. If it did, and its lease has ended, it follows from now on.
    pub(super) fn still_leads(&mut self, id: ModelId) -> bool {
        let (Some(shared), Some(model)) = (&self.shared, self.models.get_mut(&id)) else { return true };
        let Some(lease) = &mut model.lease else { return model.leads };
        let holds = lease.lease.is_held(shared.moment(Instant::now()));
        if model.leads && !holds {
            tracing::warn!(model = %model.steered.name, "the lease has ended; this gateway decides no more for the model and serves on");
            (model.leads, model.tuner, model.switching) = (false, None, None);
            lease.next = Instant::now();
        }
        model.leads
    }

    /// Reads or writes the records that are due.
    pub(super) async fn tend_leases(&mut self) {
        let now = Instant::now();
        let is_due = |lease: &ModelLease| lease.next <= now && !lease.is_busy;
        let due = self.models.iter().filter(|(_, model)| model.lease.as_ref().is_some_and(is_due));
        for id in due.map(|(&id, _)| id).collect::<Vec<_>>() {
            let must_look = self
                .models
                .get(&id)
                .and_then(|model| model.lease.as_ref())
                .is_some_and(|lease| lease.must_look);
            if self.still_leads(id) && !must_look { self.renew(id).await } else { self.look(id) }
        }
    }

    fn look(&mut self, id: ModelId) {
        let (Some(shared), Some(model)) = (&mut self.shared, self.models.get_mut(&id)) else { return };
        let Some(lease) = &mut model.lease else { return };
        lease.is_busy = true;
        let (store, name) = (shared.store.clone(), model.steered.name.clone());
        shared.io.spawn(async move { Done { model: id, what: What::Read(store.read(&name).await) } });
    }

    async fn renew(&mut self, id: ModelId) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let is_stale = |lease: &ModelLease| lease.state_taken.is_none_or(|at| at.elapsed() >= SAVE_EVERY);
        if model.is_published_changed && model.lease.as_ref().is_some_and(is_stale) {
            if let Some(lease) = &mut model.lease {
                lease.state_taken = Some(Instant::now());
            }
            model.is_published_changed = false;
            self.take_turn(id, Input { wants_state: true, ..Input::default() }).await;
        }
        let (Some(shared), Some(model)) = (&mut self.shared, self.models.get_mut(&id)) else { return };
        let state = model.last_state.clone();
        let published = state.and_then(|state| encode(&model.stored(state)).ok());
        let Some(lease) = &mut model.lease else { return };
        let Some(head) = lease.lease.renewal(shared.moment(Instant::now())) else { return };
        let body = published.unwrap_or_else(|| lease.body.clone());
        write(shared, lease, id, &model.steered.name, head, body);
    }

    /// A call to the store has ended.
    pub(super) async fn handle_shared(&mut self, Done { model: id, what }: Done) {
        let now = Instant::now();
        let (Some(shared), Some(model)) = (&mut self.shared, self.models.get_mut(&id)) else { return };
        let name = model.steered.name.clone();
        let Some(lease) = &mut model.lease else { return };
        lease.is_busy = false;
        lease.next = now + lease.lease.interval();
        match what {
            What::Read(Ok(found)) => {
                lease.must_look = false;
                lease.note_reached(&name);
                let seen =
                    lease.lease.saw(shared.moment(now), found.as_ref().map(|found| &found.record.head));
                lease.leader = found.as_ref().and_then(|found| found.record.head.holder.clone());
                let (tag, body) = found.map(|found| (found.tag, found.record.body)).unzip();
                let is_news = body.as_ref().is_some_and(|body| *body != lease.body);
                (lease.tag, lease.body) = (tag, body.unwrap_or_default());
                if let Seen::TakeOver { epoch } = seen {
                    let (head, body) = (lease.lease.claim(epoch), lease.body.clone());
                    write(shared, lease, id, &name, head, body);
                }
                if is_news && seen == Seen::Follow {
                    self.follow_published(id);
                }
            }
            What::Wrote { began, head, body, result: Ok(tag) } => {
                lease.note_reached(&name);
                lease.lease.wrote(shared.moment(began), &head);
                lease.leader.clone_from(&head.holder);
                (lease.tag, lease.body) = (Some(tag), body);
                if !model.leads {
                    tracing::info!(model = %name, epoch = head.epoch, "this gateway decides for the model from now on");
                    let stored = self.published(id);
                    self.lead_from(id, stored, true).await;
                }
            }
            What::Wrote { head, result: Err(StoreError::Conflict), .. } => {
                lease.note_reached(&name);
                lease.lease.refused();
                lease.next = now;
                tracing::warn!(model = %name, epoch = head.epoch, "the record is another gateway's: this one's write was refused");
                self.still_leads(id);
            }
            What::Read(Err(error)) | What::Wrote { result: Err(error), .. } => {
                // A write may have happened: look before the next one.
                (lease.must_look, lease.next) = (true, now + lease.lease.interval() / 4);
                lease.note_cut_off(&name, &error);
            }
        }
    }

    /// What the record carries, if it is of this model and function.
    fn published(&self, id: ModelId) -> Option<StoredState> {
        let model = self.models.get(&id)?;
        let body = &model.lease.as_ref()?.body;
        if body.is_empty() {
            return None;
        }
        let steered = &model.steered;
        match decode(body, &steered.name) {
            Ok(stored) if stored.manifest == steered.manifest && *stored.function == *steered.function => {
                Some(stored)
            }
            Ok(_) => {
                tracing::info!(model = %steered.name, "what is published is of another model version or function, and is left aside");
                None
            }
            Err(error) => {
                tracing::error!(model = %steered.name, %error, "what is published cannot be used");
                None
            }
        }
    }

    /// Serves what the leader has published.
    fn follow_published(&mut self, id: ModelId) {
        let Some(stored) = self.published(id) else { return };
        let Some(model) = self.models.get_mut(&id) else { return };
        // For this host's own disk, should the store be out of reach at the next start.
        (model.last_state, model.is_changed) = (Some(stored.tuner), true);
        let plan = stored.plan.unwrap_or_else(|| StoredPlan::of(&model.steered.base));
        self.follow(id, &plan);
    }

    /// Gives up what is held, so that others need not wait for its end.
    pub(super) async fn release_leases(&mut self) {
        // What is under way first: a record is replaced only by who knows it.
        while self.shared.as_ref().is_some_and(|shared| !shared.io.is_empty()) {
            let done = tokio::time::timeout(RELEASE_LIMIT, Shared::done(self.shared.as_mut())).await;
            let Ok(done) = done else { return };
            self.handle_shared(done).await;
        }
        for id in self.models.keys().copied().collect::<Vec<_>>() {
            let Some(shared) = &mut self.shared else { return };
            let Some(model) = self.models.get_mut(&id) else { continue };
            let published = model.last_state.clone().and_then(|state| encode(&model.stored(state)).ok());
            let Some(lease) = &mut model.lease else { continue };
            if let Some(head) = lease.lease.release(shared.moment(Instant::now())).filter(|_| !lease.is_busy)
            {
                let body = published.unwrap_or_else(|| lease.body.clone());
                write(shared, lease, id, &model.steered.name, head, body);
            }
        }
        let Some(shared) = &mut self.shared else { return };
        let all = async { while shared.io.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(RELEASE_LIMIT, all).await;
    }
}

impl ModelLease {
    fn note_reached(&mut self, model: &str) {
        if std::mem::take(&mut self.is_cut_off) {
            tracing::info!(model, "the shared store answers again");
        }
    }

    fn note_cut_off(&mut self, model: &str, error: &StoreError) {
        if !std::mem::replace(&mut self.is_cut_off, true) {
            tracing::error!(model, %error, "THE SHARED STORE CANNOT BE USED: the plan in force serves on, and nothing is decided once the lease has ended");
        }
    }
}

fn write(shared: &mut Shared, lease: &mut ModelLease, id: ModelId, name: &str, head: Head, body: Vec<u8>) {
    lease.is_busy = true;
    let (store, name, seen) = (shared.store.clone(), name.to_owned(), lease.tag.clone());
    let began = Instant::now();
    shared.io.spawn(async move {
        let record = Record { head: head.clone(), body: body.clone() };
        let result = store.write(&name, record, seen).await;
        Done { model: id, what: What::Wrote { began, head, body, result } }
    });
}
