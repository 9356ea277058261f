//! The sweep: which operating points in which order, how often each, and what is written down.
//!
//! *Order*: in rounds of a few invocations a point, each round shuffled by the seed. So a machine that grows slower, or is busy for a while,
//! neither looks like a slope over memory nor spoils single points. In the first round process counts ascend, because Max Memory Used is the
//! peak of an environment's whole life: there, and only there, a point with few processes shows no more than its own.
//! *A visit*: one warm-up with the point's own batch (it makes the environment, forks the processes and grows their arenas; written down
//! only when cold), then warm invocations. A point ends when the interval of its mean is narrow enough or its number is reached.
//! *Pause*: before each invocation, so that it finds the CPU quota of an idle environment. One right behind another starts in what is left of the
//! period before, which made batches of some milliseconds up to twice as long below one vCPU.
//! *Failures*: a point that fails twice is given up; after two such points in a row at one memory size and process count, the rest of these
//! is given up too (the memory is most likely too small).

use std::collections::BTreeMap;
use std::time::Duration;

use workers_protocol::{Answer, ProtocolError, Report};

use crate::lambda::{Lambda, LambdaError, Reply};
use crate::random::Random;
use crate::stopping::{FEWEST, relative_width};
use crate::{Inputs, Record};

/// Warm invocations of a visit.
const PER_VISIT: usize = FEWEST;
/// Failed invocations of a visit after which a point is given up.
const FAILURES_PER_POINT: u32 = 2;
/// Given-up points in a row after which the rest of the same memory and process count is.
const POINTS_GIVEN_UP: u32 = 2;

/// What to sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepSettings {
    /// Function name or ARN.
    pub function: String,
    /// Memory sizes, MiB; each needs an alias `mem-<MiB>`.
    pub memory_mib: Vec<u32>,
    /// Model processes, each 1 to 64.
    pub process_counts: Vec<u32>,
    /// Items per batch, each at least 1.
    pub items: Vec<u32>,
    /// Warm invocations per point at most, at least 1. More: narrower intervals, longer sweep.
    pub invocations: u32,
    /// Width of the 95 % confidence interval of the mean, as a share of the mean, below which a point ends early; 0: never.
    pub stop_width: f64,
    /// Pause before each invocation; more than a quota period (20 ms) or none, for times back to back.
    pub pause: Duration,
    /// Seed of the order.
    pub seed: u64,
}

/// An operating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operating {
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Model processes.
    pub process_count: u32,
    /// Items per batch.
    pub items: u32,
}

/// A point that gave no full measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The point.
    pub point: Operating,
    /// Why.
    pub reason: String,
}

/// How far the sweep is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The point that was visited.
    pub point: Operating,
    /// Points that have ended, of how many.
    pub done: (usize, usize),
    /// Warm invocations measured at this point so far.
    pub invocations: usize,
    /// Their mean handler time, milliseconds; NaN when there are none.
    pub mean_handler_ms: f64,
    /// Relative width of the mean's interval.
    pub width: f64,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Warm invocations measured.
    pub measured: usize,
    /// Cold starts met.
    pub cold: usize,
    /// Points without a full measurement.
    pub given_up: Vec<GivenUp>,
}

/// A sweep that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A setting that makes no sweep.
    #[error("`{setting}` {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Records cannot be written.
    #[error("cannot write the records")]
    Write(#[from] std::io::Error),
    /// Not one point could be measured.
    #[error("no point could be measured; the first failed with: {0}")]
    Nothing(String),
}

/// Sweeps. `write` is given every record as soon as it is there, `tell` the end of every visit to a point.
///
/// # Errors
/// As [`SweepError`]. A point that fails is no error: the summary names it.
pub async fn sweep(
    lambda: &Lambda,
    inputs: &mut Inputs,
    settings: &SweepSettings,
    mut write: impl FnMut(&Record) -> std::io::Result<()>,
    mut tell: impl FnMut(&Progress),
) -> Result<Summary, SweepError> {
    settings.check()?;
    let mut visitor = Visitor { lambda, inputs, settings, batch: 0, cold: 0, write: &mut write };
    let mut random = Random::new(settings.seed);
    let points = settings.points(&mut random);
    let all = points.len();
    let mut open: Vec<(Operating, Vec<f64>)> = points.into_iter().map(|point| (point, Vec::new())).collect();
    let mut summary = Summary::default();
    let mut failed_in_row: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut ended = 0;
    while !open.is_empty() {
        let mut again = Vec::new();
        for (point, mut handler_ms) in open {
            let failed = failed_in_row.entry((point.memory_mib, point.process_count)).or_default();
            let visited = if *failed >= POINTS_GIVEN_UP {
                Err("other points of this memory and process count failed".to_owned())
            } else {
                visitor.visit(point, &mut handler_ms).await?
            };
            *failed = visited.as_ref().map_or(*failed + 1, |()| 0);
            let is_open = visited.is_ok() && !settings.is_enough(&handler_ms);
            let mut progress = Progress {
                point,
                done: (ended, all),
                invocations: handler_ms.len(),
                mean_handler_ms: handler_ms.iter().sum::<f64>() / handler_ms.len() as f64,
                width: relative_width(&handler_ms),
            };
            if let Err(reason) = visited {
                summary.given_up.push(GivenUp { point, reason });
            }
            if is_open {
                again.push((point, handler_ms));
            } else {
                ended += 1;
                summary.measured += handler_ms.len();
                progress.done.0 = ended;
            }
            tell(&progress);
        }
        random.shuffle(&mut again);
        open = again;
    }
    summary.cold = visitor.cold;
    match summary.given_up.first() {
        Some(first) if summary.measured == 0 => Err(SweepError::Nothing(first.reason.clone())),
        _ => Ok(summary),
    }
}

/// Invokes at one point after the other.
struct Visitor<'a, W> {
    lambda: &'a Lambda,
    inputs: &'a mut Inputs,
    settings: &'a SweepSettings,
    batch: u64,
    cold: usize,
    write: &'a mut W,
}

impl<W: FnMut(&Record) -> std::io::Result<()>> Visitor<'_, W> {
    /// Appends the handler times of this visit's warm invocations in milliseconds, or says why the point is given up.
    async fn visit(
        &mut self,
        point: Operating,
        handler_ms: &mut Vec<f64>,
    ) -> Result<Result<(), String>, SweepError> {
        let enough = (handler_ms.len() + PER_VISIT).min(self.settings.invocations as usize);
        let (mut failures, mut is_warm) = (0, false);
        while handler_ms.len() < enough {
            match self.invoke(point).await {
                Ok(record) if record.cold => {
                    self.cold += 1;
                    (self.write)(&record)?;
                    is_warm = true;
                }
                Ok(_) if !is_warm => is_warm = true,
                Ok(record) => {
                    (self.write)(&record)?;
                    handler_ms.push(record.handler_us as f64 / 1e3);
                }
                Err(error) => {
                    failures += 1;
                    is_warm = false;
                    if failures >= FAILURES_PER_POINT {
                        return Ok(Err(error.to_string()));
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    async fn invoke(&mut self, point: Operating) -> Result<Record, Unusable> {
        tokio::time::sleep(self.settings.pause).await;
        self.batch += 1;
        let payload = self.inputs.payload(self.batch, point.process_count, point.items);
        let qualifier = format!("mem-{}", point.memory_mib);
        let reply = self.lambda.invoke(&self.settings.function, &qualifier, payload).await?;
        record(point, self.batch, &reply)
    }
}

/// An answer that cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Lambda(#[from] LambdaError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("{failed} of {items} items failed, the first with: {first}")]
    Items { failed: usize, items: u32, first: String },
}

fn record(point: Operating, batch: u64, reply: &Reply) -> Result<Record, Unusable> {
    let answer = Answer::decode(&reply.payload)?;
    let ids: Vec<u64> = (0..u64::from(point.items)).collect();
    answer.check_answers(batch, &ids)?;
    if let Some(first) = answer.errors.first() {
        let first = first.message.clone();
        return Err(Unusable::Items { failed: answer.errors.len(), items: point.items, first });
    }
    let Report { cold, init_us, handler_us, processes, .. } = answer.report;
    Ok(Record {
        memory_mib: point.memory_mib,
        process_count: point.process_count,
        items: point.items,
        shard_padded_units: processes.iter().map(|process| process.padded_units).max().unwrap_or(0),
        handler_us,
        billed_ms: reply.billing.billed_ms,
        // The bill's INIT is what counts; where there is none (it ran out of time and was repeated) the worker's own is told.
        init_us: cold.then(|| reply.billing.init_us.unwrap_or(init_us)),
        cold,
        round_trip_us: u64::try_from(reply.round_trip.as_micros()).unwrap_or(u64::MAX),
        max_memory_used_mib: reply.billing.max_memory_used_mib,
    })
}

impl SweepSettings {
    fn check(&self) -> Result<(), SweepError> {
        let wrong = |setting, reason| Err(SweepError::Setting { setting, reason });
        let lists = [
            ("memory", &self.memory_mib, 128..=10_240),
            ("processes", &self.process_counts, 1..=64),
            ("batches", &self.items, 1..=10_000),
        ];
        for (setting, values, range) in lists {
            if values.is_empty() {
                return wrong(setting, "names no value");
            }
            if !values.iter().all(|value| range.contains(value)) {
                return wrong(
                    setting,
                    "has a value out of range (memory 128 to 10240, processes 1 to 64, batches 1 to 10000)",
                );
            }
        }
        if self.function.is_empty() {
            return wrong("function", "is empty");
        }
        if self.invocations == 0 {
            return wrong("invocations", "must be at least 1");
        }
        if !(0.0..1.0).contains(&self.stop_width) {
            return wrong("stop-width", "must be 0 to below 1");
        }
        Ok(())
    }

    fn is_enough(&self, handler_ms: &[f64]) -> bool {
        handler_ms.len() >= self.invocations as usize
            || handler_ms.len() >= FEWEST && relative_width(handler_ms) < self.stop_width
    }

    /// Every point, in the order of the first round.
    fn points(&self, random: &mut Random) -> Vec<Operating> {
        let mut counts = self.process_counts.clone();
        counts.sort_unstable();
        counts.dedup();
        let mut points = Vec::new();
        for process_count in counts {
            let start = points.len();
            for &memory_mib in &self.memory_mib {
                points.extend(self.items.iter().map(|&items| Operating { memory_mib, process_count, items }));
            }
            random.shuffle(&mut points[start..]);
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SweepSettings {
        SweepSettings {
            function: "f".to_owned(),
            memory_mib: vec![512, 1024, 1769],
            process_counts: vec![2, 1],
            items: vec![1, 2, 4],
            invocations: 20,
            stop_width: 0.02,
            pause: Duration::ZERO,
            seed: 1,
        }
    }

    #[test]
    fn points_are_shuffled_by_the_seed_and_process_counts_ascend() {
        let points = settings().points(&mut Random::new(1));
        assert_eq!(points.len(), 18);
        assert!(points.is_sorted_by_key(|point| point.process_count));
        assert!(!points[..9].is_sorted(), "the order within a process count is shuffled");
        assert_ne!(points, settings().points(&mut Random::new(2)));
        let mut sorted = points;
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 18, "no point is lost or twice");
    }

    #[test]
    fn settings_that_make_no_sweep_are_named() {
        let refused = |settings: SweepSettings| settings.check().unwrap_err().to_string();
        assert!(refused(SweepSettings { memory_mib: vec![], ..settings() }).contains("`memory`"));
        assert!(refused(SweepSettings { memory_mib: vec![64], ..settings() }).contains("`memory`"));
        assert!(refused(SweepSettings { process_counts: vec![0], ..settings() }).contains("`processes`"));
        assert!(refused(SweepSettings { items: vec![0], ..settings() }).contains("`batches`"));
        assert!(refused(SweepSettings { invocations: 0, ..settings() }).contains("`invocations`"));
        assert!(refused(SweepSettings { stop_width: f64::NAN, ..settings() }).contains("`stop-width`"));
    }
}
