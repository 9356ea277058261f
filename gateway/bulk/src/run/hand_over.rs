//! A job whose chunks a state machine runs: hand over, follow, take in.
//!
//! 1. *Hand over.* The input is cut as ever. Each chunk's request goes to the job's folder in S3 ([`Folder`]), and when all are there the manifest; then
//!    an execution is started that takes one chunk after the other from it, at most `parallelism` at a time.
//! 2. *Follow.* It is looked at until it ends. Whoever stops this process stops only the looking: the execution is named by the job and an attempt, so
//!    the same command finds it. Cancelling, and the end of the job's time, stop the execution.
//! 3. *Take in.* The input is cut again by the same bounds; a chunk with an answer goes through the same judge, codec and committer as one that was
//!    invoked here. A chunk without one is left open, and then run by this process as any other: so poison is halved here, and each line has one outcome
//!    wherever it was run.
//!
//! *Why not all in the state machine.* It carries 256 KiB a message, so chunks go by reference; and it cannot cut a chunk in two.
//! *Bounds.* What an execution costs is seen only when its answers are taken in, so such a job takes no budget. Chunks that failed there were billed there,
//! and are not in the job's cost.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use gateway_invoker::Status;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::Invoke;
use super::budget::Budget;
use super::cut::Mode;
use super::folder::Folder;
use super::phases::{QUEUE, Runner, joined};
use super::shared::{Halt, Shared};
use super::task::Crew;
use crate::chunk::{Bounds, Chunk};
use crate::input::Blob;
use crate::{BulkError, Executions, JobCost, JobFailure, JobId, JobState, StepFunctions, unix_millis};

/// Objects that are written, or read, at the same time.
const OBJECTS: usize = 16;
/// First wait between two looks at an execution, and the longest; each is half as long again.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How often cancelling, the clock and whoever stops are looked at meanwhile.
const TICK: Duration = Duration::from_millis(200);
/// So long an execution that was started may not be seen: looking is eventually consistent.
const APPEARS: Duration = Duration::from_secs(60);
/// Attempts that are looked through for the last one.
const ATTEMPTS: u32 = 1000;
/// The error of an execution in which more chunks failed than it tolerates: the rest is run here.
const TOO_MANY_FAILURES: &str = "States.ExceedToleratedFailureThreshold";
/// What a chunk costs beside Lambda: two state transitions of the execution (its child's start and its one state), two objects written and three asked
/// for. List prices, us-east-1: $25, $5 and $0.40 a million.
const USD_PER_CHUNK: f64 = 2.0 * 25e-6 + 2.0 * 5e-6 + 3.0 * 0.4e-6;

/// Why an execution is no longer followed.
enum Followed {
    Ended(Status),
    Halted(Halt),
}

fn name(job: &JobId, attempt: u32) -> String {
    format!("{job}-{attempt}")
}

/// The last execution of a job, and its attempt; 0: there is none.
async fn last(job: &JobId, executions: &dyn Executions) -> Result<(u32, Option<Status>), BulkError> {
    let mut last = (0, None);
    for attempt in 1..=ATTEMPTS {
        match executions.look(&name(job, attempt)).await? {
            Some(found) => last = (attempt, Some(found.status)),
            None => break,
        }
    }
    Ok(last)
}

/// Stops what runs elsewhere of a job, if anything does.
pub(super) async fn stop(job: &JobId, executions: &dyn Executions) -> Result<(), BulkError> {
    if let (attempt, Some(Status::Running)) = last(job, executions).await? {
        executions.stop(&name(job, attempt), "the job was cancelled").await?;
    }
    Ok(())
}

impl Runner {
    /// Has the state machine run what is not done, and takes in its answers. Gives why the job is halted, if it is; else what is left is to be run here.
    pub(super) async fn hand_over<I: Invoke>(
        &mut self,
        to: &StepFunctions,
        blob: &Blob,
        invoker: &I,
    ) -> Result<Option<Halt>, BulkError> {
        let executions = self.executions()?;
        let folder = Folder::open(&to.work, &self.taken.job.id)?;
        let (mut attempt, mut status) = last(&self.taken.job.id, &*executions).await?;
        let is_to_start = !matches!(&status, Some(Status::Running | Status::Succeeded))
            && !matches!(&status, Some(Status::Ended { error, .. }) if error == TOO_MANY_FAILURES);
        if is_to_start {
            match self.prepare(&folder, blob, invoker).await? {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(halt) => return Ok(Some(halt)),
            }
            attempt += 1;
            let input = self.input_of(to, &folder);
            executions.start(&name(&self.taken.job.id, attempt), &input).await?;
            tracing::info!(job = %self.taken.job.id, attempt, state_machine = to.state_machine, "execution started");
            status = Some(Status::Running);
        }
        let name = name(&self.taken.job.id, attempt);
        let followed = match status {
            Some(Status::Running) | None => self.follow(&*executions, &name).await?,
            Some(ended) => Followed::Ended(ended),
        };
        let halt = match followed {
            Followed::Halted(Halt::Stopped) => return Ok(Some(Halt::Stopped)),
            Followed::Halted(halt) => {
                executions.stop(&name, "the job was cancelled, or its time is over").await?;
                Some(halt)
            }
            Followed::Ended(Status::Ended { error, cause }) if error != TOO_MANY_FAILURES => {
                let text = format!(
                    "execution `{name}` ended with {error}: {cause}; run the job again to start another"
                );
                Some(Halt::Failed(JobFailure::new("execution_failed", text)))
            }
            Followed::Ended(_) => None,
        };
        let stopped = self.take_in(&folder, blob, invoker).await?;
        Ok(halt.or(stopped))
    }

    /// Ends what runs elsewhere of a job that is cancelled, and takes in what was answered.
    pub(super) async fn call_back<I: Invoke>(
        &mut self,
        to: &StepFunctions,
        blob: &Blob,
        invoker: &I,
    ) -> Result<(), BulkError> {
        stop(&self.taken.job.id, &*self.executions()?).await?;
        let folder = Folder::open(&to.work, &self.taken.job.id)?;
        self.take_in(&folder, blob, invoker).await?;
        Ok(())
    }

    fn executions(&self) -> Result<Arc<dyn Executions>, BulkError> {
        self.context.executions.clone().ok_or(BulkError::NoStateMachine)
    }

    /// What the execution is told; see the definition of the state machine.
    fn input_of(&self, to: &StepFunctions, folder: &Folder) -> String {
        let (point, job) = (&self.taken.job.spec.point, &self.taken.job);
        let function = if point.qualifier.is_empty() {
            point.function.clone()
        } else {
            format!("{}:{}", point.function, point.qualifier)
        };
        serde_json::json!({
            "function": function,
            "bucket": folder.bucket(),
            "manifest": folder.manifest().to_string(),
            "results": folder.results().to_string(),
            "parallelism": job.spec.parallelism,
            "tolerated_failure_percentage": to.tolerated_failure_percentage,
        })
        .to_string()
    }

    fn crew<I: Invoke>(&self, invoker: &I) -> Crew<I> {
        let spec = &self.taken.job.spec;
        // Bounds do not shrink while it is cut: a chunk must be found again by its lines.
        let bounds = Bounds::new(spec.chunk.max_items, spec.chunk.max_request_bytes, &self.context.manifest);
        let budget = Budget::new(None, self.taken.job.cost, 0.0);
        Crew {
            invoker: invoker.clone(),
            context: self.context.clone(),
            point: spec.point.clone(),
            shared: Arc::new(Shared::new(1, bounds.max_items, budget)),
            batches: Arc::new(AtomicU64::new(1)),
            is_numbered: spec.output.is_sorted,
            lessons: None,
        }
    }

    /// Writes requests and manifest; gives the number of chunks.
    async fn prepare<I: Invoke>(
        &self,
        folder: &Folder,
        blob: &Blob,
        invoker: &I,
    ) -> Result<Result<u64, Halt>, BulkError> {
        let path = self.spool.scratch().with_extension("manifest");
        let what = || format!("write `{}`", path.display());
        let file = std::fs::File::create(&path).map_err(BulkError::io(what()))?;
        let mut manifest = std::io::BufWriter::new(file);
        let crew = self.crew(invoker);
        let mode = Mode::Answer(Arc::clone(&self.context.codec));
        let (mut chunks, cutting) = self.cut(blob.clone(), Arc::clone(&crew.shared), mode, None);
        let mut writing: JoinSet<Result<(), BulkError>> = JoinSet::new();
        let (mut count, mut lead, mut looked) = (0_u64, "[", Instant::now());
        while let Some(chunk) = chunks.recv().await {
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                if let Some(halt) = self.halted().await? {
                    return Ok(Err(halt)); // without a manifest nobody takes the requests for all
                }
            }
            if chunk.items == 0 {
                continue;
            }
            let entry = folder.entry(&chunk.span);
            write!(manifest, "{lead}{entry}").map_err(BulkError::io(what()))?;
            (count, lead) = (count + 1, ",\n");
            let (folder, payload) = (folder.clone(), crew.request(&chunk));
            writing.spawn(async move { folder.put_request(&chunk.span, payload).await });
            if writing.len() >= OBJECTS
                && let Some(written) = writing.join_next().await
            {
                joined(written)??;
            }
            self.context.progress.update(|snapshot| snapshot.elsewhere = Some((0, count)));
        }
        while let Some(written) = writing.join_next().await {
            joined(written)??;
        }
        joined(cutting.await)??;
        if count > 0 {
            manifest.write_all(b"]\n").and_then(|()| manifest.flush()).map_err(BulkError::io(what()))?;
            folder.put_manifest(&path).await?;
        }
        Ok(Ok(count))
    }

    /// Why the job is not to go on, if it is not.
    async fn halted(&self) -> Result<Option<Halt>, BulkError> {
        let expires_at = self.taken.job.spec.expires_at;
        Ok(if *self.context.stop.borrow() {
            Some(Halt::Stopped)
        } else if expires_at.is_some_and(|at| unix_millis() >= at) {
            Some(Halt::Expired)
        } else if self.store.state(&self.taken).await? == JobState::Cancelling {
            Some(Halt::Cancelled)
        } else {
            None
        })
    }

    /// Looks at an execution until it ends.
    async fn follow(&self, executions: &dyn Executions, name: &str) -> Result<Followed, BulkError> {
        let (began, mut wait) = (Instant::now(), LOOK.0);
        loop {
            let look_again = tokio::time::Instant::now() + wait;
            while tokio::time::Instant::now() < look_again {
                if let Some(halt) = self.halted().await? {
                    return Ok(Followed::Halted(halt));
                }
                tokio::time::sleep(TICK).await;
            }
            wait = wait.mul_f64(1.5).min(LOOK.1);
            match executions.look(name).await? {
                Some(found) if found.status == Status::Running => {
                    if found.items.is_some() {
                        self.context.progress.update(|snapshot| snapshot.elsewhere = found.items);
                    }
                }
                Some(found) => return Ok(Followed::Ended(found.status)),
                None if began.elapsed() < APPEARS => {}
                None => {
                    let (error, cause) = ("Missing".to_owned(), "it is not there any more".to_owned());
                    return Ok(Followed::Ended(Status::Ended { error, cause }));
                }
            }
        }
    }

    /// Commits every chunk that has a whole answer; leaves the others open.
    async fn take_in<I: Invoke>(
        &mut self,
        folder: &Folder,
        blob: &Blob,
        invoker: &I,
    ) -> Result<Option<Halt>, BulkError> {
        let crew = self.crew(invoker);
        let shared = Arc::clone(&crew.shared);
        let mode = Mode::Answer(Arc::clone(&self.context.codec));
        let (chunks, cutting) = self.cut(blob.clone(), Arc::clone(&shared), mode, None);
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.context.progress.begin();
        let writing = tokio::spawn(self.committer(Arc::clone(&shared)).run(receiver));
        let taken = self.adopt_all(&crew, folder, chunks, sender).await;
        let cut = joined(cutting.await)?;
        let (committer, written) = joined(writing.await)?;
        self.taken.checkpoint = committer.checkpoint;
        self.taken.job.counts = committer.counts;
        self.taken.job.cost = shared.cost();
        self.context.progress.update(|snapshot| snapshot.elsewhere = None);
        written?;
        cut?;
        taken
    }

    async fn adopt_all<I: Invoke>(
        &self,
        crew: &Crew<I>,
        folder: &Folder,
        mut chunks: mpsc::Receiver<Chunk>,
        sender: mpsc::Sender<super::Done>,
    ) -> Result<Option<Halt>, BulkError> {
        type Found = JoinHandle<Result<Option<bytes::Bytes>, BulkError>>;
        let mut reading: VecDeque<(Chunk, Found)> = VecDeque::with_capacity(OBJECTS);
        let mut is_over = false;
        loop {
            if *self.context.stop.borrow() {
                return Ok(Some(Halt::Stopped));
            }
            while !is_over && reading.len() < OBJECTS {
                let Some(chunk) = chunks.recv().await else {
                    is_over = true;
                    break;
                };
                let (folder, span, items) = (folder.clone(), chunk.span, chunk.items);
                let found =
                    tokio::spawn(
                        async move { if items == 0 { Ok(None) } else { folder.answer(&span).await } },
                    );
                reading.push_back((chunk, found));
            }
            let Some((chunk, found)) = reading.pop_front() else { return Ok(None) };
            let Some((done, cost)) = crew.adopt(&chunk, joined(found.await)??) else { continue };
            if cost.invocations > 0 {
                let usd = cost.usd + USD_PER_CHUNK;
                crew.shared.spend(&JobCost { usd, is_estimate: true, ..cost });
            }
            if sender.send(done).await.is_err() {
                return Ok(None); // the writer has failed, and says why
            }
        }
    }
}
