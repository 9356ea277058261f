//! The phases of a run: validate, answer, give up what is left, put in place. Each can be begun again after a kill.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway_contract::Mebibytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::budget::Budget;
use super::commit::Committer;
use super::cut::{Cutter, Mode};
use super::folder::Folder;
use super::shared::{Halt, Shared};
use super::task::{Crew, Done};
use super::watch::watch;
use super::{Invoke, RunContext};
use crate::chunk::{Bounds, Chunk};
use crate::input::{Blob, Survey, survey};
use crate::output::{Spool, SpoolLock, publish};
use crate::store::{Taken, Verdict};
use crate::{BulkError, Engine, JobFailure, JobId, JobState, LineFault, LineProblem, Store, unix_millis};

/// Chunks that wait to be run, and finished ones that wait to be written.
pub(super) const QUEUE: usize = 4;
/// Longest invocation that Lambda permits.
const LONGEST_INVOCATION: Duration = Duration::from_mins(15);

/// One run of one job.
pub(super) struct Runner {
    pub(super) store: Store,
    pub(super) context: RunContext,
    pub(super) taken: Taken,
    pub(super) spool: Spool,
    pub(super) begun: Instant,
}

/// How a phase ended.
enum Next {
    Go,
    /// The run is over for now; the database says how.
    End,
}

impl Runner {
    /// Takes the job.
    pub(super) async fn take(store: &Store, id: &JobId, context: RunContext) -> Result<Self, BulkError> {
        let (taken, spool) =
            match context.holder.as_ref().and_then(|holder| holder.seizes.as_ref().zip(Some(holder))) {
                Some((seen, holder)) => {
                    // The job first: of several that would seize it one gets it, and that one alone touches the spool.
                    store.seize(id, seen, &holder.name).await?;
                    let taken = store.take(id).await?;
                    let lock = SpoolLock::seize(&context.spool, id, &taken.checkpoint)?;
                    let spool = lock.open(&taken.checkpoint)?;
                    (taken, spool)
                }
                None => {
                    // The lock first: taking the job puts an end to any other runner's commits.
                    let lock = SpoolLock::take(&context.spool, id)?;
                    let taken = store.take(id).await?;
                    let spool = lock.open(&taken.checkpoint)?;
                    (taken, spool)
                }
            };
        if let Some(holder) = &context.holder {
            store.hold(id, taken.epoch, &holder.name).await?;
        }
        let (counts, cost, state) = (taken.job.counts, taken.job.cost, taken.job.state);
        context.progress.update(|snapshot| {
            snapshot.counts = counts;
            snapshot.cost = cost;
            snapshot.state = state;
        });
        Ok(Self { store: store.clone(), context, taken, spool, begun: Instant::now() })
    }

    /// Runs all phases.
    pub(super) async fn run<I: Invoke>(mut self, invoker: I) -> Result<(), BulkError> {
        let ended = self.phases(invoker).await;
        // An input that cannot be read, or an output that cannot be written, is a failure of the job; a lost database is nobody's to write down.
        let failure = match ended {
            Ok(()) => return Ok(()),
            Err(
                error @ (BulkError::Input { .. } | BulkError::InputChanged { .. } | BulkError::Usage { .. }),
            ) => JobFailure::new("invalid_input", error.to_string()),
            Err(error @ (BulkError::Io { .. } | BulkError::ObjectStore(_) | BulkError::Output { .. })) => {
                JobFailure::new("storage", error.to_string())
            }
            Err(error @ (BulkError::StateMachine(_) | BulkError::NoStateMachine)) => {
                JobFailure::new("execution_failed", error.to_string())
            }
            Err(error) => return Err(error),
        };
        self.fail(&failure).await
    }

    async fn phases<I: Invoke>(&mut self, invoker: I) -> Result<(), BulkError> {
        let verdict = match self.taken.verdict {
            Some(verdict) => verdict,
            None => match self.answer_all(invoker).await? {
                Some(verdict) => verdict,
                None => return Ok(()),
            },
        };
        if self.move_on(JobState::Finalizing, Some(verdict)).await? == JobState::Cancelling {
            // Cancelled at the last moment: all is answered, but the caller has been told.
            return self.finalize(Verdict::Cancelled).await;
        }
        self.finalize(verdict).await
    }

    /// Validates and answers; gives what becomes of the job, or nothing if the run is over for now.
    async fn answer_all<I: Invoke>(&mut self, invoker: I) -> Result<Option<Verdict>, BulkError> {
        let job = &self.taken.job;
        let engine = job.spec.engine.clone();
        if job.state == JobState::Cancelling {
            if let (Engine::StepFunctions(to), Some(before)) = (&engine, &self.taken.fingerprint) {
                let blob = Blob::open(&job.spec.input.location).await?;
                if blob.fingerprint() == before {
                    self.call_back(to, &blob, &invoker).await?;
                }
            }
            return Ok(Some(Verdict::Cancelled));
        }
        if job.spec.expires_at.is_some_and(|at| unix_millis() >= at) {
            return Ok(Some(Verdict::Expired));
        }
        let blob = Blob::open(&job.spec.input.location).await?;
        match &self.taken.fingerprint {
            Some(before) if before != blob.fingerprint() => {
                return Err(BulkError::InputChanged { location: blob.name() });
            }
            Some(_) => {}
            None => match self.validate(&blob).await? {
                Next::Go => {}
                Next::End => {
                    let is_cancelled = self.store.state(&self.taken).await? == JobState::Cancelling;
                    return Ok(is_cancelled.then_some(Verdict::Cancelled));
                }
            },
        }
        if self.move_on(JobState::InProgress, None).await? == JobState::Cancelling {
            return Ok(Some(Verdict::Cancelled));
        }
        if let Some(learn) = self.taken.job.spec.learn.clone()
            && let Some(halt) = self.learn(&learn, &blob, &invoker).await?
        {
            return self.halted_by(halt).await;
        }
        let handed = match &engine {
            Engine::Local => None,
            Engine::StepFunctions(to) => self.hand_over(to, &blob, &invoker).await?,
        };
        let halt = match handed {
            Some(halt) => Some(halt),
            None => self.answer(blob, invoker).await?,
        };
        match halt {
            None => Ok(Some(Verdict::Completed)),
            Some(halt) => self.halted_by(halt).await,
        }
    }

    /// What becomes of a job that was halted; nothing if the run is over for now.
    async fn halted_by(&self, halt: Halt) -> Result<Option<Verdict>, BulkError> {
        match halt {
            Halt::Cancelled => Ok(Some(Verdict::Cancelled)),
            Halt::Expired => Ok(Some(Verdict::Expired)),
            Halt::Stopped => Ok(None),
            Halt::Failed(failure) => {
                self.fail(&failure).await?;
                Ok(None)
            }
        }
    }

    /// Reads the input once.
    async fn validate(&mut self, blob: &Blob) -> Result<Next, BulkError> {
        if self.move_on(JobState::Validating, None).await? == JobState::Cancelling {
            return Ok(Next::End);
        }
        let (seen, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let reading = {
            let (blob, spec, spill) = (blob.clone(), self.taken.job.spec.clone(), self.context.spool.clone());
            let codec = spec.is_strict.then(|| Arc::clone(&self.context.codec));
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            tokio::task::spawn_blocking(move || {
                survey(&blob, &spec.input, codec.as_deref(), &spill, &seen, &stop)
            })
        };
        let found = self.while_reading(reading, &seen, &stop).await?;
        let Some(found) = found else { return Ok(Next::End) };
        if let Some(failure) = refusal(&found) {
            self.fail(&failure).await?;
            return Ok(Next::End);
        }
        self.store.validated(&self.taken, blob.fingerprint(), found.lines).await?;
        self.taken.fingerprint = Some(blob.fingerprint().to_owned());
        self.taken.job.counts.total = found.lines;
        self.context.progress.update(|snapshot| snapshot.counts.total = found.lines);
        Ok(Next::Go)
    }

    /// Waits for the first pass; ends it if the job is cancelled or the runner is to stop.
    async fn while_reading(
        &self,
        mut reading: tokio::task::JoinHandle<Result<Option<Survey>, BulkError>>,
        seen: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<Option<Survey>, BulkError> {
        loop {
            tokio::select! {
                found = &mut reading => {
                    return found.map_err(|_| BulkError::Output { reason: "the reader's thread died".to_owned() })?;
                }
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
            }
            let total = seen.load(Ordering::Relaxed);
            self.context.progress.update(|snapshot| snapshot.counts.total = total);
            let is_stopped = *self.context.stop.borrow();
            if is_stopped || self.store.state(&self.taken).await? == JobState::Cancelling {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Answers what is not done. Gives why it was halted, if it was.
    async fn answer<I: Invoke>(&mut self, blob: Blob, invoker: I) -> Result<Option<Halt>, BulkError> {
        let spec = &self.taken.job.spec;
        let bounds = Bounds::new(spec.chunk.max_items, spec.chunk.max_request_bytes, &self.context.manifest);
        let budget = self.budget(spec.point.memory());
        let shared = Arc::new(Shared::new(spec.parallelism, bounds.max_items, budget));
        let crew = Arc::new(Crew {
            invoker,
            context: self.context.clone(),
            point: spec.point.clone(),
            shared: Arc::clone(&shared),
            batches: Arc::new(AtomicU64::new(1)),
            is_numbered: spec.output.is_sorted,
            lessons: None,
        });
        let parallelism = spec.parallelism.max(1) as usize;
        let watching = tokio::spawn(watch(Arc::clone(&shared), self.context.stop.clone(), spec.expires_at));
        let (chunks, cutting) =
            self.cut(blob, Arc::clone(&shared), Mode::Answer(Arc::clone(&self.context.codec)), None);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writing = tokio::spawn(self.committer(Arc::clone(&shared)).run(receiver));
        dispatch(&crew, chunks, sender, parallelism).await;
        watching.abort();
        let cut = joined(cutting.await)?;
        let (committer, written) = joined(writing.await)?;
        self.taken.checkpoint = committer.checkpoint;
        self.taken.job.counts = committer.counts;
        self.taken.job.cost = shared.cost();
        written?;
        cut?;
        Ok(shared.halted())
    }

    /// What may be spent from now on, by functions of up to this memory.
    pub(super) fn budget(&self, memory: Mebibytes) -> Budget {
        let RunContext { prices, architecture, .. } = &self.context;
        let longest_usd = prices.invocation_usd(*architecture, memory, LONGEST_INVOCATION);
        Budget::new(self.taken.job.spec.max_usd, self.taken.job.cost, longest_usd)
    }

    /// Starts the cutter.
    pub(super) fn cut(
        &self,
        blob: Blob,
        shared: Arc<Shared>,
        mode: Mode,
        sizes: Option<Vec<u32>>,
    ) -> (mpsc::Receiver<Chunk>, tokio::task::JoinHandle<Result<(), BulkError>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let cutter = Cutter {
            blob,
            spec: self.taken.job.spec.input.clone(),
            manifest: Arc::clone(&self.context.manifest),
            shared,
            max_request_bytes: self.taken.job.spec.chunk.max_request_bytes,
            mode,
            sizes,
            sender,
        };
        let checkpoint = self.taken.checkpoint.clone();
        (receiver, tokio::task::spawn_blocking(move || cutter.run(&checkpoint)))
    }

    pub(super) fn committer(&self, shared: Arc<Shared>) -> Committer {
        Committer {
            store: self.store.clone(),
            taken: self.taken.clone(),
            shared,
            progress: Arc::clone(&self.context.progress),
            spool: self.spool.clone(),
            checkpoint: self.taken.checkpoint.clone(),
            counts: self.taken.job.counts,
            begun: self.begun,
            before: self.taken.job.active,
        }
    }

    /// Every line that has no outcome goes to the error file.
    async fn give_up(&mut self, fault: LineFault) -> Result<(), BulkError> {
        let blob = Blob::open(&self.taken.job.spec.input.location).await?;
        let budget = Budget::new(None, self.taken.job.cost, 0.0);
        let shared = Arc::new(Shared::new(1, u32::MAX, budget));
        let (mut chunks, cutting) = self.cut(blob, Arc::clone(&shared), Mode::GiveUp(fault), None);
        let mut committer = self.committer(shared);
        while let Some(chunk) = chunks.recv().await {
            let mut done = Done { span: Some(chunk.span), ..Done::default() };
            for faulty in &chunk.faults {
                self.context.codec.encode_fault(faulty.number, &faulty.id, &faulty.fault, &mut done.errors);
                done.errors.push(b'\n');
                done.failed += 1;
            }
            committer.write(vec![done]).await?;
        }
        joined(cutting.await)??;
        self.taken.checkpoint = committer.checkpoint;
        self.taken.job.counts = committer.counts;
        Ok(())
    }

    /// Puts the files in place.
    async fn finalize(&mut self, verdict: Verdict) -> Result<(), BulkError> {
        if verdict == Verdict::Expired {
            let message = "the job's time was over before this line was run".to_owned();
            self.give_up(LineFault { code: "expired", message }).await?;
        }
        let (spool, spec) = (self.spool.clone(), self.taken.job.spec.clone());
        let manifest = Arc::clone(&self.context.manifest);
        joined(tokio::task::spawn_blocking(move || publish(&spool, &spec, Some(&manifest))).await)??;
        self.move_on(verdict.state(), None).await?;
        tracing::info!(job = %self.taken.job.id, state = %verdict.state(), completed = self.taken.job.counts.completed,
            failed = self.taken.job.counts.failed, usd = self.taken.job.cost.usd, "bulk job ended");
        self.spool.clone().remove();
        if let Engine::StepFunctions(to) = &self.taken.job.spec.engine
            && let Err(error) = async { Folder::open(&to.work, &self.taken.job.id)?.remove().await }.await
        {
            tracing::warn!(work = to.work, %error, "the folder of a finished job stays in S3");
        }
        Ok(())
    }

    async fn move_on(&self, state: JobState, verdict: Option<Verdict>) -> Result<JobState, BulkError> {
        let state = self.store.move_on(&self.taken, state, verdict, None).await?;
        self.context.progress.update(|snapshot| snapshot.state = state);
        Ok(state)
    }

    async fn fail(&self, failure: &JobFailure) -> Result<(), BulkError> {
        tracing::warn!(job = %self.taken.job.id, code = failure.code, reason = failure.message, "bulk job failed");
        self.store.move_on(&self.taken, JobState::Failed, None, Some(failure)).await?;
        self.context.progress.update(|snapshot| snapshot.state = JobState::Failed);
        Ok(())
    }
}

/// Puts in place what a cancelled job without a runner has.
pub(super) async fn end_cancelled(store: &Store, id: &JobId, spool: &Path) -> Result<(), BulkError> {
    let lock = SpoolLock::take(spool, id)?;
    let taken = store.take(id).await?;
    let spool = lock.open(&taken.checkpoint)?;
    store.move_on(&taken, JobState::Finalizing, Some(Verdict::Cancelled), None).await?;
    let (publishing, spec) = (spool.clone(), taken.job.spec.clone());
    joined(tokio::task::spawn_blocking(move || publish(&publishing, &spec, None)).await)??;
    store.move_on(&taken, Verdict::Cancelled.state(), None, None).await?;
    spool.remove();
    Ok(())
}

pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, BulkError> {
    result.map_err(|_| BulkError::Output { reason: "a task of the runner died".to_owned() })
}

/// Runs chunks, so many at a time, until there are no more or the run is halted; waits for those under way.
async fn dispatch<I: Invoke>(
    crew: &Arc<Crew<I>>,
    mut chunks: mpsc::Receiver<Chunk>,
    sender: mpsc::Sender<Done>,
    parallelism: usize,
) {
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        if running.len() >= parallelism {
            running.join_next().await;
        }
        let chunk = tokio::select! {
            biased;
            () = crew.shared.until_halted() => break,
            chunk = chunks.recv() => chunk,
        };
        let Some(chunk) = chunk else { break };
        let (crew, sender) = (Arc::clone(crew), sender.clone());
        running.spawn(async move {
            if let Some(done) = crew.run(&chunk).await {
                let _writer_has_failed = sender.send(done).await;
            }
        });
    }
    chunks.close();
    while chunks.try_recv().is_ok() {} // a cutter that waits for room must not wait for ever
    drop(chunks);
    while running.join_next().await.is_some() {}
}

/// Why an input is refused as a whole.
fn refusal(found: &Survey) -> Option<JobFailure> {
    if let Some(duplicate) = found.duplicate {
        let text =
            format!("line {} has the id of line {}; ids must be unique", duplicate.second, duplicate.first);
        let problem =
            LineProblem { line: duplicate.second, code: "duplicate_id".to_owned(), message: text.clone() };
        return Some(JobFailure { code: "duplicate_id".to_owned(), message: text, problems: vec![problem] });
    }
    if let Some(first) = found.problems.first() {
        let text = format!("line {}: {}", first.line, first.message);
        return Some(JobFailure {
            problems: found.problems.clone(),
            ..JobFailure::new("invalid_input", text)
        });
    }
    (found.lines == 0).then(|| JobFailure::new("invalid_input", "the input holds no lines"))
}
