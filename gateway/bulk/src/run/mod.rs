//! Runs a job to its end: reads, cuts, invokes, judges, writes, commits.
//!
//! ```text
//! reader and cutter ──chunks──► dispatcher ──one task a chunk──► invocations ──finished chunks──► committer ──► spool, store
//!     (a thread)                (as many as the parallelism)                                       (one task)
//! ```
//! Every queue is short and bounded, so memory is that of the chunks under way. Retries, cuts and the window are decided in `task.rs`, `window.rs` and
//! `budget.rs`; here is only the order of events.

mod attempt;
mod budget;
mod commit;
mod cut;
mod folder;
mod hand_over;
mod invoke;
mod learn;
mod phases;
mod shared;
mod task;
mod watch;
mod window;

use std::path::PathBuf;
use std::sync::Arc;

use gateway_contract::{Architecture, PriceTable};
use workers_protocol::ModelManifest;

pub use self::invoke::Invoke;
use self::phases::Runner;
pub(crate) use self::task::Done;
use crate::{BulkError, Capacity, Executions, Job, JobId, LineCodec, Owner, Progress, Store};

/// What a runner needs beside the job itself.
#[derive(Clone)]
pub struct RunContext {
    /// The model's manifest.
    pub manifest: Arc<ModelManifest>,
    /// Reads and writes lines.
    pub codec: Arc<dyn LineCodec>,
    /// What Lambda charges.
    pub prices: Arc<PriceTable>,
    /// Of the function, for its price.
    pub architecture: Architecture,
    /// The state machine of jobs that another engine runs; `None`: such jobs are refused.
    pub executions: Option<Arc<dyn Executions>>,
    /// Who else wants concurrency.
    pub capacity: Arc<dyn Capacity>,
    /// Where progress is shown.
    pub progress: Arc<Progress>,
    /// Folder in which unfinished jobs keep their answers, one folder each; the same one at every run of a job.
    pub spool: PathBuf,
    /// Who runs the job, where several gateways look after the same jobs.
    pub holder: Option<Holder>,
    /// Stop in order when this turns true: invocations under way end and are committed, the job stays resumable.
    pub stop: tokio::sync::watch::Receiver<bool>,
}

/// A gateway among several.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Names it among all others.
    pub name: String,
    /// The lease of another gateway that has been silent for too long: the job is taken away from it.
    pub(crate) seizes: Option<gateway_lease::Head>,
}

impl Holder {
    /// Takes only what is free.
    #[must_use]
    pub const fn new(name: String) -> Self {
        Self { name, seizes: None }
    }
}

/// Runs (or resumes) a job until it is final, or until `stop`. Gives the job as it is then.
///
/// A job that failed is begun again where it stopped; one that is completed, expired or cancelled is given back as it is.
///
/// # Errors
/// [`BulkError::Busy`] if another runner has it; whatever keeps the state from being read or written. A job that fails for its
/// input, its function or its budget is no error here: see [`Job::failure`].
pub async fn run<I: Invoke>(
    store: &Store,
    owner: &Owner,
    id: &JobId,
    invoker: I,
    context: RunContext,
) -> Result<Job, BulkError> {
    let job = store.job(owner, id).await?;
    if job.state.is_final() && job.state != crate::JobState::Failed {
        return Ok(job);
    }
    Runner::take(store, id, context).await?.run(invoker).await?;
    store.job(owner, id).await
}

/// Stops what a state machine runs of a job, if anything. What it answered is put in place by the job's own next [`run`].
///
/// # Errors
/// Step Functions.
pub async fn stop_elsewhere(id: &JobId, executions: &dyn Executions) -> Result<(), BulkError> {
    hand_over::stop(id, executions).await
}

/// Ends a job that is `cancelling` and has no runner: what was answered is put in place. Plain lines only need no codec for that.
///
/// # Errors
/// [`BulkError::Busy`] if another process runs it; [`BulkError::WrongState`] if it is not `cancelling`.
pub async fn cancel_unrun(
    store: &Store,
    owner: &Owner,
    id: &JobId,
    spool: &std::path::Path,
) -> Result<Job, BulkError> {
    let job = store.job(owner, id).await?;
    if job.state != crate::JobState::Cancelling {
        return Err(BulkError::WrongState { id: id.clone(), state: job.state });
    }
    phases::end_cancelled(store, id, spool).await?;
    store.job(owner, id).await
}
