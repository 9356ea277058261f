//! A plan from the job's own first chunks, where nobody knows the model.
//!
//! *Problem.* How many items a chunk should hold, on what memory, in how many processes and how many at a time follows from the model's service time. Without
//! a profile that is not known before anything was invoked.
//! *Rule.* Each place (memory × processes) that the bounds allow takes a few chunks of rising size, one after the other: the first one is cold and
//! teaches INIT, the others are warm. Places run side by side. They are the job's own first lines, and their answers count. The belief that comes of them is
//! the tuner's (`optimizer_tuner::bulk::Learned`), and so is the choice: for what is left of the input, of the time and of the dollars.
//! *Bounds.* All of it takes at most a twentieth of the items. A job too small for that, or one whose first chunks teach nothing (all failed), goes on by the
//! configured plan. No chunk begins that would take longer than one may, by the ones before it. A wish that cannot be kept fails the job with what can;
//! its first chunks are paid for, and it goes on with another wish.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use gateway_contract::{Mebibytes, ServiceOutcome};
use gateway_invoker::provision::alias_name;
use optimizer_tuner::bulk::Learned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Invoke;
use super::cut::Mode;
use super::phases::{QUEUE, Runner, joined};
use super::shared::{Halt, Shared};
use super::task::{Crew, Done, Lessons};
use crate::chunk::{Bounds, Chunk};
use crate::estimate::{BulkPlan, InputSketch, Wish, look, plan};
use crate::input::Blob;
use crate::{BulkError, JobFailure, JobSpec, Learn, OperatingPoint};

/// Items of a place's chunks, in order; the first is cold.
const LADDER: [u32; 6] = [1, 2, 8, 32, 4, 64];
/// Chunks of a place at least: a cold one, and two warm ones of different size.
const FEWEST: usize = 3;
/// The job's items, over those that teach.
const SHARE: u64 = 20;
/// A place that has taken this long has taught enough.
const LONGEST: Duration = Duration::from_secs(60);

impl Runner {
    /// Runs first chunks, and chooses the plan. Gives why the job is halted, if it is.
    pub(super) async fn learn<I: Invoke>(
        &mut self,
        learn: &Learn,
        blob: &Blob,
        invoker: &I,
    ) -> Result<Option<Halt>, BulkError> {
        let sketch = self.sketch(blob).await?;
        let places = places(learn);
        let sizes = self.sizes(learn, &sketch, places.len());
        if sizes.len() < FEWEST {
            let why = "the configured plan: the job is too small to learn from".to_owned();
            return self.go_on(JobSpec { why: Some(why), ..self.taken.job.spec.clone() }).await;
        }
        let lessons = Lessons::default();
        if let Some(halt) = self.first_chunks(learn, blob, invoker, &places, &sizes, &lessons).await? {
            return Ok(Some(halt));
        }
        let seen = std::mem::take(&mut *lessons.lock().unwrap_or_else(PoisonError::into_inner));
        let bounds = learn.bounds.bulk(&self.context.manifest);
        let count = seen.iter().filter(|seen| seen.outcome == ServiceOutcome::Completed).count();
        let Some(learned) = Learned::from_observations(&seen, &bounds) else {
            let why = "the configured plan: the first chunks taught nothing".to_owned();
            return self.go_on(JobSpec { why: Some(why), ..self.taken.job.spec.clone() }).await;
        };
        let spec = &self.taken.job.spec;
        let left = self.left(&sketch);
        let gone = self.taken.job.active + self.begun.elapsed();
        let wish = Wish {
            finish_within: spec.finish_within.map(|time| time.saturating_sub(gone)),
            max_usd: spec.max_usd.map(|usd| (usd - self.taken.job.cost.usd).max(f64::MIN_POSITIVE)),
        };
        let chosen = {
            let (manifest, prices) = (Arc::clone(&self.context.manifest), Arc::clone(&self.context.prices));
            let (bounds, architecture) = (learn.bounds.clone(), self.context.architecture);
            tokio::task::spawn_blocking(move || {
                plan(&learned, &left, wish, &bounds, &manifest, &prices, architecture)
            })
        };
        match joined(chosen.await)? {
            Ok(choice) => {
                let cut = choice.plan.cut;
                let mut spec = spec.clone();
                spec.point = point(learn, &spec.point, (cut.memory_mib.0, cut.process_count));
                spec.chunk.max_items = cut.chunk_items;
                spec.parallelism = cut.parallelism;
                spec.why = Some(why(count, gone, &choice.plan, choice.runner_up.as_ref()));
                self.go_on(spec).await
            }
            Err(error) => {
                let text =
                    format!("after {count} first chunks: {error}; run it again with another wish to go on");
                Ok(Some(Halt::Failed(JobFailure::new("wish_impossible", text))))
            }
        }
    }

    /// The plan is chosen.
    async fn go_on(&mut self, spec: JobSpec) -> Result<Option<Halt>, BulkError> {
        let spec = JobSpec { learn: None, ..spec };
        self.store.set_spec(&self.taken, &spec).await?;
        tracing::info!(job = %self.taken.job.id, why = spec.why, items = spec.chunk.max_items, processes = spec.point.process_count,
            memory_mib = spec.point.memory_mib, parallelism = spec.parallelism, "plan chosen");
        self.context.progress.planned(&spec);
        self.taken.job.spec = spec;
        Ok(None)
    }

    async fn sketch(&self, blob: &Blob) -> Result<InputSketch, BulkError> {
        let (blob, input) = (blob.clone(), self.taken.job.spec.input.clone());
        let (manifest, codec) = (Arc::clone(&self.context.manifest), Arc::clone(&self.context.codec));
        let looked = tokio::task::spawn_blocking(move || look(&blob, &input, &manifest, &*codec));
        Ok(InputSketch { lines: self.taken.job.counts.total, is_exact: true, ..joined(looked.await)?? })
    }

    /// What no chunk has taken yet.
    fn left(&self, sketch: &InputSketch) -> InputSketch {
        let counts = self.taken.job.counts;
        InputSketch { lines: sketch.lines.saturating_sub(counts.completed + counts.failed).max(1), ..*sketch }
    }

    /// Items of each chunk of a place.
    fn sizes(&self, learn: &Learn, sketch: &InputSketch, places: usize) -> Vec<u32> {
        let spec = &self.taken.job.spec;
        let most = learn.bounds.chunk_items.unwrap_or(u32::MAX);
        let by_bytes = spec.chunk.max_request_bytes as f64 / sketch.request_bytes_per_item.max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
        let most = Bounds::new(most.min(by_bytes as u32), u64::MAX, &self.context.manifest).max_items;
        let share = self.left(sketch).items() / SHARE / places.max(1) as u64;
        let mut taken = 0;
        let mut sizes: Vec<u32> = LADDER.iter().map(|&items| items.min(most)).collect();
        sizes.retain(|&items| {
            let fits = taken + u64::from(items) <= share;
            if fits {
                taken += u64::from(items);
            }
            fits
        });
        sizes
    }

    async fn first_chunks<I: Invoke>(
        &mut self,
        learn: &Learn,
        blob: &Blob,
        invoker: &I,
        places: &[(u32, u32)],
        sizes: &[u32],
        lessons: &Lessons,
    ) -> Result<Option<Halt>, BulkError> {
        let spec = self.taken.job.spec.clone();
        let largest = places.iter().map(|&(memory, _)| memory).max().unwrap_or(spec.point.memory_mib);
        let budget = self.budget(Mebibytes(largest));
        let lanes = u32::try_from(places.len()).unwrap_or(u32::MAX).min(learn.bounds.parallelism);
        let shared = Arc::new(Shared::new(lanes, u32::MAX, budget));
        let all: Vec<u32> = places.iter().flat_map(|_| sizes.iter().copied()).collect();
        let mode = Mode::Answer(Arc::clone(&self.context.codec));
        let (mut chunks, cutting) = self.cut(blob.clone(), Arc::clone(&shared), mode, Some(all));
        let mut cut = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            cut.push(chunk);
        }
        joined(cutting.await)??;
        let watching = tokio::spawn(super::watch::watch(
            Arc::clone(&shared),
            self.context.stop.clone(),
            spec.expires_at,
        ));
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writing = tokio::spawn(self.committer(Arc::clone(&shared)).run(receiver));
        let batches = Arc::new(AtomicU64::new(1));
        let mut lanes = JoinSet::new();
        let mut cut = cut.into_iter();
        for &place in places {
            let crew = Crew {
                invoker: invoker.clone(),
                context: self.context.clone(),
                point: point(learn, &spec.point, place),
                shared: Arc::clone(&shared),
                batches: Arc::clone(&batches),
                is_numbered: spec.output.is_sorted,
                lessons: Some(Arc::clone(lessons)),
            };
            let chunks: Vec<Chunk> = cut.by_ref().take(sizes.len()).collect();
            lanes.spawn(lane(crew, chunks, learn.bounds.longest_chunk, sender.clone()));
        }
        drop(sender);
        while lanes.join_next().await.is_some() {}
        watching.abort();
        let (committer, written) = joined(writing.await)?;
        self.taken.checkpoint = committer.checkpoint;
        self.taken.job.counts = committer.counts;
        self.taken.job.cost = shared.cost();
        written?;
        Ok(shared.halted())
    }
}

/// One place: its chunks one after the other, while they are short enough.
async fn lane<I: Invoke>(
    crew: Crew<I>,
    chunks: Vec<Chunk>,
    longest_chunk: Duration,
    sender: mpsc::Sender<Done>,
) {
    let began = Instant::now();
    let mut slowest_item = Duration::ZERO;
    for chunk in chunks {
        if began.elapsed() > LONGEST || slowest_item * chunk.items > longest_chunk {
            continue; // its lines are cut again later
        }
        let began = Instant::now();
        let Some(done) = crew.run(&chunk).await else { return };
        slowest_item = began.elapsed() / chunk.items.max(1);
        if sender.send(done).await.is_err() {
            return;
        }
    }
}

/// Memory and processes that are tried: one process, and as many as the memory buys vCPUs.
fn places(learn: &Learn) -> Vec<(u32, u32)> {
    let of = |&memory: &u32| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most six vCPUs")]
        let vcpus = Mebibytes(memory).vcpus().round() as u32;
        let counts = match learn.bounds.process_count {
            Some(count) => vec![count],
            None if vcpus > 1 => vec![1, vcpus.min(6)],
            None => vec![1],
        };
        counts.into_iter().map(move |count| (memory, count))
    };
    learn.bounds.memory_mib.iter().flat_map(of).collect()
}

fn point(learn: &Learn, before: &OperatingPoint, (memory_mib, process_count): (u32, u32)) -> OperatingPoint {
    let qualifier = match &learn.qualifier {
        Some(qualifier) => qualifier.clone(),
        None if memory_mib == before.memory_mib => before.qualifier.clone(),
        None => alias_name(Mebibytes(memory_mib)),
    };
    OperatingPoint { function: before.function.clone(), qualifier, memory_mib, process_count }
}

fn why(chunks: usize, gone: Duration, plan: &BulkPlan, runner_up: Option<&BulkPlan>) -> String {
    let of = |plan: &BulkPlan| {
        format!(
            "{} ({} to {}) for {} ({} to {}), {} items, {} processes, {} MiB, {} at a time",
            seconds(plan.seconds.expected),
            seconds(plan.seconds.low),
            seconds(plan.seconds.high),
            dollars(plan.usd.expected),
            dollars(plan.usd.low),
            dollars(plan.usd.high),
            plan.cut.chunk_items,
            plan.cut.process_count,
            plan.cut.memory_mib.0,
            plan.cut.parallelism
        )
    };
    let gone = seconds(gone.as_secs_f64());
    let mut text = format!("learned from {chunks} first chunks in {gone}; what is left: {}", of(plan));
    if let Some(plan) = runner_up {
        text.push_str(&format!("; runner-up {}", of(plan)));
    }
    text
}

fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.2} s") } else { format!("{seconds:.0} s") }
}

fn dollars(usd: f64) -> String {
    if usd < 0.01 { format!("${usd:.6}") } else { format!("${usd:.4}") }
}
