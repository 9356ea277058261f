//! The choice: dollars of every cut by formula, time only of those that can still win.
//!
//! Rule. `finish_within`: the cheapest whose upper time holds it. `max_usd`: the fastest whose upper dollars hold it. Both: the cheapest in
//! time, if within the dollars. Neither: the fastest of those that cost at most [`TOLERANCE`] more than the cheapest, since a job on one
//! environment is the cheapest and takes for ever.
//! A lower bound of the time (no worker ever waits) is known at once; the time itself (`makespan`) is computed in the order of the bounds until
//! none can be better.

use gateway_contract::Mebibytes;

use super::candidate::{Candidate, Rank};
use super::candidates::{cuts, most_by_bytes, most_in_time, places};
use super::error::BulkError;
use super::knowledge::ServiceKnowledge;
use super::plan::{BulkBounds, BulkChoice, BulkCut, BulkJob, BulkPlan};
use crate::tuner::Economics;

/// Dollars beyond the cheapest that time is bought for where nothing is wished, as a factor.
const TOLERANCE: f64 = 1.02;
/// Times that differ by less are equal, as a factor: then the dollars decide.
const SAME_TIME: f64 = 1.005;

/// Chooses how to run a job.
///
/// # Errors
/// A wish that cannot be granted, with what can; bounds in which the model cannot run; numbers out of range.
pub fn choose(
    knowledge: &dyn ServiceKnowledge,
    job: &BulkJob,
    bounds: &BulkBounds,
    economics: &Economics,
) -> Result<BulkChoice, BulkError> {
    check(job, bounds)?;
    let field = Field::new(knowledge, job, bounds, economics)?;
    let within_s = job.wish.finish_within.map(|time| time.as_secs_f64());
    match (within_s, job.wish.max_usd) {
        (Some(within_s), None) => field.cheapest_in_time(within_s),
        (None, Some(max_usd)) => field.fastest_in_budget(max_usd),
        (None, None) => field.sensible(),
        (Some(within_s), Some(max_usd)) => {
            let in_time = field.cheapest_in_time(within_s)?;
            if in_time.plan.usd.high <= max_usd {
                return Ok(in_time);
            }
            let in_budget = field.fastest_in_budget(max_usd)?;
            Err(BulkError::Conflict {
                wanted_s: within_s,
                wanted_usd: max_usd,
                in_time: Box::new(in_time.plan),
                in_budget: Box::new(in_budget.plan),
            })
        }
    }
}

/// What a given cut is predicted to take.
///
/// # Errors
/// A job, a cut or bounds out of range. Whether the cut fits bytes, memory and time is not checked: it is the caller's wish.
pub fn estimate(
    knowledge: &dyn ServiceKnowledge,
    job: &BulkJob,
    cut: BulkCut,
    bounds: &BulkBounds,
    economics: &Economics,
) -> Result<BulkPlan, BulkError> {
    check(job, bounds)?;
    let in_range = cut.chunk_items >= 1 && cut.process_count >= 1 && cut.parallelism >= 1;
    ensure(in_range, "cut", "must have at least one item, process and invocation")?;
    Ok(Candidate::new(knowledge, job, cut, bounds, economics).plan())
}

fn ensure(holds: bool, field: &'static str, reason: &'static str) -> Result<(), BulkError> {
    if holds { Ok(()) } else { Err(BulkError::OutOfRange { field, reason }) }
}

fn check(job: &BulkJob, bounds: &BulkBounds) -> Result<(), BulkError> {
    ensure(job.items >= 1, "items", "must be at least 1")?;
    let is_count = |value: f64| value.is_finite() && value >= 0.0;
    ensure(is_count(job.request_bytes_per_item), "request_bytes_per_item", "must be 0 or more")?;
    ensure(is_count(job.response_bytes_per_item), "response_bytes_per_item", "must be 0 or more")?;
    ensure(
        job.units_per_item.is_none_or(|it| it.is_finite() && it > 0.0),
        "units_per_item",
        "must be above 0",
    )?;
    ensure(job.wish.max_usd.is_none_or(|it| it.is_finite() && it > 0.0), "max_usd", "must be above 0")?;
    let memory = &bounds.memory_mib;
    let in_range = |it: &Mebibytes| (Mebibytes::LAMBDA_MIN..=Mebibytes::LAMBDA_MAX).contains(it);
    ensure(
        !memory.is_empty() && memory.iter().all(in_range),
        "memory_mib",
        "must list sizes of 128 to 10240",
    )?;
    let (low, high) = bounds.process_count;
    ensure(low >= 1 && low <= high && high <= 64, "process_count", "must ascend within 1 to 64")?;
    let (low, high) = bounds.chunk_items;
    ensure(low >= 1 && low <= high && high <= 10_000, "chunk_items", "must ascend within 1 to 10000")?;
    let (low, high) = bounds.parallelism;
    ensure(low >= 1 && low <= high, "parallelism", "must ascend from 1")?;
    ensure((0.5..=0.999).contains(&bounds.confidence), "confidence", "must be 0.5 to 0.999")
}

/// All candidates of a job.
struct Field {
    candidates: Vec<Candidate>,
}

impl Field {
    fn new(
        knowledge: &dyn ServiceKnowledge,
        job: &BulkJob,
        bounds: &BulkBounds,
        economics: &Economics,
    ) -> Result<Self, BulkError> {
        let by_bytes = most_by_bytes(job, bounds)?;
        let mut candidates = Vec::new();
        for point in places(bounds).into_iter().filter(|&point| knowledge.fits(point)) {
            let most = most_in_time(knowledge, job, bounds, point, by_bytes);
            if most == 0 {
                continue;
            }
            let cuts = cuts(job, bounds, point, most);
            candidates
                .extend(cuts.into_iter().map(|cut| Candidate::new(knowledge, job, cut, bounds, economics)));
        }
        if candidates.is_empty() {
            return Err(BulkError::NowhereToRun { longest_chunk_s: bounds.longest_chunk.as_secs_f64() });
        }
        let usd = |candidate: &Candidate| candidate.usd.expected;
        candidates.sort_by(|a, b| usd(a).total_cmp(&usd(b)).then(a.cut.cmp(&b.cut)));
        Ok(Self { candidates })
    }

    fn cheapest_in_time(&self, within_s: f64) -> Result<BulkChoice, BulkError> {
        let mut holds = self
            .candidates
            .iter()
            .filter(|candidate| candidate.least(Rank::Upper) <= within_s)
            .map(|candidate| (candidate, candidate.plan()))
            .filter(|(_, plan)| plan.seconds.high <= within_s);
        let Some((_, plan)) = holds.next() else {
            let all: Vec<&Candidate> = self.candidates.iter().collect();
            let fastest = Box::new(fastest(&all, Rank::Upper).plan);
            return Err(BulkError::TooShort { wanted_s: within_s, fastest });
        };
        let runner_up = holds.find(|(candidate, _)| candidate.is_elsewhere(&plan.cut)).map(|(_, plan)| plan);
        Ok(BulkChoice { plan, runner_up })
    }

    fn fastest_in_budget(&self, max_usd: f64) -> Result<BulkChoice, BulkError> {
        let affordable: Vec<&Candidate> =
            self.candidates.iter().filter(|candidate| candidate.usd.high <= max_usd).collect();
        if affordable.is_empty() {
            let cheapest = Box::new(self.candidates[0].plan());
            return Err(BulkError::TooLittle { wanted_usd: max_usd, cheapest });
        }
        Ok(fastest(&affordable, Rank::Expected))
    }

    fn sensible(&self) -> Result<BulkChoice, BulkError> {
        let bound = self.candidates[0].usd.expected * TOLERANCE;
        let cheap: Vec<&Candidate> =
            self.candidates.iter().take_while(|candidate| candidate.usd.expected <= bound).collect();
        Ok(fastest(&cheap, Rank::Expected))
    }
}

/// The fastest of some, at least one, and the fastest elsewhere. Of those that are as good as equally fast, the cheapest.
fn fastest(of: &[&Candidate], rank: Rank) -> BulkChoice {
    let mut by_bound: Vec<&Candidate> = of.to_vec();
    by_bound.sort_by(|a, b| a.least(rank).total_cmp(&b.least(rank)).then(a.cut.cmp(&b.cut)));
    let plan = first_of(by_bound.iter().copied(), rank);
    let plan = plan.unwrap_or_else(|| by_bound[0].plan());
    let elsewhere = by_bound.iter().copied().filter(|candidate| candidate.is_elsewhere(&plan.cut));
    BulkChoice { plan, runner_up: first_of(elsewhere, rank) }
}

/// Of candidates in the order of their bounds.
fn first_of<'a>(by_bound: impl Iterator<Item = &'a Candidate>, rank: Rank) -> Option<BulkPlan> {
    let mut least = f64::INFINITY;
    let mut seen: Vec<BulkPlan> = Vec::new();
    for candidate in by_bound {
        if candidate.least(rank) > least * SAME_TIME {
            break;
        }
        let plan = candidate.plan();
        least = least.min(rank.of(&plan));
        seen.push(plan);
    }
    let as_fast = seen.into_iter().filter(|plan| rank.of(plan) <= least * SAME_TIME);
    as_fast.min_by(|a, b| a.usd.expected.total_cmp(&b.usd.expected).then(a.cut.cmp(&b.cut)))
}
