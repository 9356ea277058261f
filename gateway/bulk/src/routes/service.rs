//! Runs the jobs that were created through the routes, in this process: those of an earlier process first.
//!
//! One task owns all jobs and joins them. A job waits for its turn (`max_jobs`), is run to its end, and its files are made visible. When the gateway
//! stops, jobs stop at their next commit and stay resumable.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use gateway_lease::{Head, Lease, Seen};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::batches::is_batch;
use super::envelope::Envelope;
use super::operator::{self, Operator};
use super::{
    Api, Endpoint, Gate, Gateway, JobProgress, NotServed, RouteSettings, Target, disk, files, publish, router,
};
use crate::output::SpoolLock;
use crate::run::Holder;
use crate::store::Held;
use crate::{
    BulkError, Invoke, Job, JobFailure, JobId, JobState, Owner, Progress, RunContext, Snapshot, Store, run,
    unix_millis,
};

/// How often progress is counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How often files whose time is over are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How soon a job that could not be run is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The jobs that this process runs or will run.
#[derive(Clone)]
pub(crate) struct JobQueue {
    sender: mpsc::UnboundedSender<Taking>,
    known: Arc<Mutex<HashMap<JobId, Arc<Known>>>>,
}

/// A job that this process is to run.
struct Taking {
    owner: Owner,
    id: JobId,
    known: Arc<Known>,
    /// The lease of a silent gateway that it is taken from.
    seizes: Option<Head>,
}

/// A job that has not ended.
struct Known {
    progress: Arc<Progress>,
    /// It is to be cancelled: it need not wait for its turn.
    wake: Notify,
    /// Whether this process has begun to run it.
    has_run: AtomicBool,
}

impl JobQueue {
    /// Runs a job when its turn comes.
    pub(super) fn add(&self, job: &Job) {
        self.take(job, None);
    }

    fn take(&self, job: &Job, seizes: Option<Head>) {
        let known = Arc::new(Known {
            progress: Arc::default(),
            wake: Notify::new(),
            has_run: AtomicBool::new(false),
        });
        if job.state == JobState::Cancelling {
            known.wake.notify_one();
        }
        match self.lock().entry(job.id.clone()) {
            Entry::Occupied(_) => return, // it was found in the database a moment ago
            Entry::Vacant(place) => place.insert(known.clone()),
        };
        let _ = self.sender.send(Taking { owner: job.owner.clone(), id: job.id.clone(), known, seizes });
    }

    fn is_known(&self, id: &JobId) -> bool {
        self.lock().contains_key(id)
    }

    /// Runs a job now if it waits for its turn: it is to be cancelled, which takes no room.
    pub(super) fn wake(&self, id: &JobId) {
        if let Some(known) = self.lock().get(id) {
            known.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far a job is that this process runs or will run.
    pub(super) fn progress(&self, id: &JobId) -> Option<Snapshot> {
        self.lock().get(id).map(|known| known.progress.snapshot())
    }

    fn states(&self) -> BTreeMap<JobState, usize> {
        let mut states = BTreeMap::new();
        for known in self.lock().values() {
            *states.entry(known.progress.snapshot().state).or_default() += 1;
        }
        states
    }
}

/// The running service. Dropping it does not stop it: [`Service::stop`] does.
pub struct Service {
    operator: Operator,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Service {
    /// Routes for the gateway's private listener: what all jobs do.
    pub fn operator_routes(&self) -> Router {
        operator::router(self.operator.clone())
    }

    /// Stops in order: invocations under way end and are committed; what is not done is resumed by the next process.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if self.task.await.is_err() {
            tracing::error!("the service of bulk jobs panicked");
        }
    }
}

/// Makes the folder, takes up what an earlier process left, and gives the routes.
///
/// # Errors
/// The folder or the database cannot be used.
pub async fn start<I: Invoke>(
    store: Store,
    settings: RouteSettings,
    gateway: Arc<dyn Gateway>,
    gate: Gate,
    invoker: I,
) -> Result<(Router, Service), BulkError> {
    disk::prepare(&settings.directory)?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let jobs = JobQueue { sender, known: Arc::default() };
    let api = Api { store, settings: Arc::new(settings), gateway, jobs };
    let operator = Operator { api: api.clone(), gate: gate.clone() };
    let runner = Runner {
        me: format!("{}/{}", std::process::id(), JobId::random()?),
        began: Instant::now(),
        leases: Arc::default(),
        turns: Arc::new(Semaphore::new(api.settings.max_jobs.max(1) as usize)),
        api: api.clone(),
        gate,
        invoker,
        stopped,
    };
    let task = tokio::spawn(runner.run_all(receiver));
    Ok((router(api), Service { operator, stop, task }))
}

#[derive(Clone)]
struct Runner<I> {
    api: Api,
    /// Names this process among all gateways of the database.
    me: String,
    began: Instant,
    /// What was seen of each job that has not ended.
    leases: Arc<Mutex<HashMap<JobId, Lease>>>,
    gate: Gate,
    invoker: I,
    turns: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl<I: Invoke> Runner<I> {
    async fn run_all(self, mut receiver: mpsc::UnboundedReceiver<Taking>) {
        let mut running = JoinSet::new();
        let mut count = tokio::time::interval(COUNT_EVERY);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut look = tokio::time::interval(self.api.settings.lease / 6);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                Some(taking) = receiver.recv() => {
                    let runner = self.clone();
                    running.spawn(async move {
                        runner.run_one(&taking).await;
                        runner.api.jobs.lock().remove(&taking.id);
                    });
                }
                _ = look.tick() => self.look().await,
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the task of a batch panicked; the batch is resumed at the next start");
                    }
                }
                _ = count.tick() => self.count_jobs(),
                _ = sweep.tick() => self.sweep().await,
                () = until_stopped(&mut stopped) => break,
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Says that this gateway is alive, and takes up what nobody runs: new, left by a process that has ended, or held by one that is silent.
    async fn look(&self) {
        let looked = async {
            self.api.store.beat(&self.me).await?;
            self.api.store.held().await
        };
        let held = match looked.await {
            Ok(held) => held,
            Err(error) => return tracing::warn!(%error, "the job database cannot be looked at"),
        };
        let now = self.began.elapsed();
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|id, _| held.iter().any(|held| held.job.id == *id));
        for Held { job, head } in held.iter().filter(|held| is_batch(&held.job)) {
            let lease = leases
                .entry(job.id.clone())
                .or_insert_with(|| Lease::new(self.me.clone(), self.api.settings.lease));
            let is_silent = matches!(lease.saw(now, Some(head)), Seen::TakeOver { .. });
            if self.api.jobs.is_known(&job.id) {
                continue;
            }
            let seizes = if SpoolLock::is_free(&self.api.settings.directory.join("spool"), &job.id) {
                None
            } else if is_silent && head.holder.is_some() {
                Some(head.clone())
            } else {
                continue;
            };
            tracing::info!(job = %job.id, state = %job.state, done = job.counts.completed, holder = head.holder.as_deref(), "a batch that nobody runs is taken up");
            self.api.jobs.take(job, seizes);
        }
    }

    /// Runs a job until it has ended or the service stops, whatever happens in between.
    async fn run_one(&self, Taking { owner, id, known, seizes }: &Taking) {
        let (mut stopped, mut seizes) = (self.stopped.clone(), seizes.clone());
        loop {
            let turn = tokio::select! {
                turn = self.turns.acquire() => turn.ok(),
                () = known.wake.notified() => None,
                () = until_stopped(&mut stopped) => return,
            };
            let attempted = self.attempt(owner, id, known, seizes.take()).await;
            if !matches!(attempted, Ok(Some(_)))
                && let Err(error) = self.api.store.release(id, &self.me).await
            {
                tracing::warn!(job = %id, %error, "a batch is not given back; another gateway takes it when its lease has ended");
            }
            match attempted {
                Ok(Some(job)) => return self.ended(&job).await,
                Ok(None) => return,
                Err(BulkError::Busy { .. }) => {
                    tracing::info!(job = %id, "another gateway runs the batch");
                    return;
                }
                Err(error) => {
                    tracing::error!(job = %id, %error, "a batch could not be run; it is tried again")
                }
            }
            drop(turn); // others run meanwhile
            tokio::select! {
                () = tokio::time::sleep(TRY_AGAIN) => {}
                () = known.wake.notified() => {}
                () = until_stopped(&mut stopped) => return,
            }
        }
    }

    /// One run of a job; `None`: it was stopped on the way.
    async fn attempt(
        &self,
        owner: &Owner,
        id: &JobId,
        known: &Known,
        seizes: Option<Head>,
    ) -> Result<Option<Job>, BulkError> {
        let job = self.api.store.job(owner, id).await?;
        if job.state.is_final() {
            // One that this process never ran was ended, and counted, by another.
            return Ok(Some(job).filter(|_| known.has_run.load(Ordering::Relaxed)));
        }
        known.has_run.store(true, Ordering::Relaxed);
        let reason = || format!("`{}` is no endpoint", job.spec.kind);
        let endpoint =
            Endpoint::parse(&job.spec.kind).ok_or_else(|| BulkError::Corrupt { reason: reason() })?;
        let target = match self.api.gateway.target(&endpoint, &job.spec.model) {
            Ok(target) => target,
            Err(refused) => return self.without_model(&job, &refused).await,
        };
        let Target { architecture, prices, manifest, codec, .. } = target;
        let context = RunContext {
            manifest,
            codec: Arc::new(Envelope::new(&endpoint, id, codec)),
            prices,
            architecture,
            executions: None,
            capacity: Arc::new(self.gate.clone()),
            progress: known.progress.clone(),
            holder: Some(Holder { name: self.me.clone(), seizes }),
            stop: self.stopped.clone(),
            spool: self.api.settings.directory.join("spool"),
        };
        let began = Instant::now();
        let counting = self.count_progress(&job, known);
        let running = run(&self.api.store, owner, id, self.invoker.clone(), context);
        tokio::pin!(counting, running);
        let result = tokio::select! {
            result = &mut running => result,
            never = &mut counting => match never {},
        };
        let job = result?;
        tracing::debug!(job = %id, state = %job.state, took = ?began.elapsed(), "a run of a batch ended");
        Ok(job.state.is_final().then_some(job))
    }

    /// A job whose model has gone waits for it to come back, until it is cancelled or its time is over.
    async fn without_model(&self, job: &Job, refused: &NotServed) -> Result<Option<Job>, BulkError> {
        let is_over = job.spec.expires_at.is_some_and(|at| at <= unix_millis());
        let (state, failure) = if job.state == JobState::Cancelling {
            (JobState::Cancelled, None)
        } else if is_over {
            (JobState::Failed, Some(JobFailure::new("model_not_found", refused.to_string())))
        } else {
            return Err(BulkError::Usage { reason: refused.to_string() });
        };
        let taken = self.api.store.take(&job.id).await?;
        self.api.store.move_on(&taken, state, None, failure.as_ref()).await?;
        self.api.store.job(&job.owner, &job.id).await.map(Some)
    }

    /// Counts a job's progress until it is dropped, and a last time then.
    async fn count_progress(&self, job: &Job, known: &Known) -> std::convert::Infallible {
        let before = Snapshot { counts: job.counts, cost: job.cost, ..known.progress.snapshot() };
        let mut counted = Counted { runner: self, model: &job.spec.model, known, before };
        let mut tick = tokio::time::interval(COUNT_EVERY);
        loop {
            tick.tick().await;
            counted.count();
        }
    }

    fn count_jobs(&self) {
        let states = self.api.jobs.states();
        let telemetry = self.api.gateway.telemetry();
        for state in JobState::ALL.into_iter().filter(|state| !state.is_final()) {
            telemetry.jobs(state, states.get(&state).copied().unwrap_or(0));
        }
        let (share, in_flight) = self.gate.share();
        telemetry.share(share, in_flight);
    }

    async fn ended(&self, job: &Job) {
        if let Err(error) = publish::files_of(&self.api, job).await {
            tracing::error!(job = %job.id, %error, "the files of a batch could not be listed yet");
        }
        let age = u64::try_from(unix_millis().saturating_sub(job.created_at)).unwrap_or(0);
        self.api.gateway.telemetry().ended(&job.spec.model, job.state, Duration::from_millis(age));
        let reason =
            job.failure.as_ref().map(|JobFailure { code, message, .. }| format!("{code}: {message}"));
        tracing::info!(
            job = %job.id, model = %job.spec.model, state = %job.state, lines = job.counts.total, completed = job.counts.completed,
            failed = job.counts.failed, usd = job.cost.usd, seconds = age / 1000, reason, "a batch ended"
        );
    }

    async fn sweep(&self) {
        let expired = match self.api.store.expired_files(unix_millis()).await {
            Ok(expired) => expired,
            Err(error) => return tracing::error!(%error, "expired files cannot be looked up"),
        };
        for file in expired {
            match files::remove(&self.api, &file.owner, &file).await {
                Ok(()) => tracing::info!(file = %file.id, "a file expired and was removed"),
                Err(error) => tracing::error!(file = %file.id, %error, "an expired file cannot be removed"),
            }
        }
    }
}

async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error says that the service itself is gone: that is a stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// What was counted of a job so far.
struct Counted<'a, I: Invoke> {
    runner: &'a Runner<I>,
    model: &'a str,
    known: &'a Known,
    before: Snapshot,
}

impl<I: Invoke> Counted<'_, I> {
    fn count(&mut self) {
        let now = self.known.progress.snapshot();
        if now.counts.total == 0 {
            return; // its runner has not read yet how far it had come
        }
        let before = std::mem::replace(&mut self.before, now);
        let progress = JobProgress {
            completed: now.counts.completed.saturating_sub(before.counts.completed),
            failed: now.counts.failed.saturating_sub(before.counts.failed),
            items: now.counts.items.saturating_sub(before.counts.items),
            usd: (now.cost.usd - before.cost.usd).max(0.0),
            billed: Duration::from_millis(now.cost.billed_ms.saturating_sub(before.cost.billed_ms)),
            gb_seconds: (now.cost.gb_seconds - before.cost.gb_seconds).max(0.0),
            invocations: now.cost.invocations.saturating_sub(before.cost.invocations),
            throttled: now.throttled.saturating_sub(before.throttled),
        };
        self.runner.api.gateway.telemetry().progressed(self.model, &progress);
    }
}

impl<I: Invoke> Drop for Counted<'_, I> {
    fn drop(&mut self) {
        self.count();
    }
}
