//! The choice: dollars of every candidate by formula, time only of those that can still win.
//!
//! Rule. `finish_within`: the cheapest whose upper time holds it. `max_usd`: the fastest whose upper dollars hold it. Both: the cheapest in
//! time, if within the dollars. Neither: the fastest of those that cost at most [`TOLERANCE`] more than the cheapest, since a job on one
//! environment is the cheapest and takes for ever.
//! A lower bound of the time (no worker ever waits) is known at once; the time itself (`makespan`) is computed in the order of the bounds until
//! none can be better.

use gateway_contract::Mebibytes;

use super::candidates::{cuts, most_by_bytes, most_in_time, places};
use super::error::BulkError;
use super::knowledge::{ServiceKnowledge, Work};
use super::makespan::Makespan;
use super::plan::{BulkBounds, BulkChoice, BulkCut, BulkJob, BulkPlan, Interval};
use crate::formula::LogNormal;
use crate::service::belief::RungPoint;
use crate::tuner::Economics;

/// Dollars beyond the cheapest that time is bought for where nothing is wished, as a factor.
const TOLERANCE: f64 = 1.02;
/// Times that differ by less are equal, as a factor: then the dollars decide.
const SAME_TIME: f64 = 1.005;
/// Deviations of an interval's ends: one in twenty beyond each.
const INTERVAL_Z: f64 = 1.645;
/// Deviation of the end of a list of chunks, of a chunk's own in its last round.
const TAIL_SHARE: f64 = 0.5;

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
    ensure(low >= 1 && low <= high, "parallelism", "must ascend from 1")
}

/// Which time plans are compared by.
#[derive(Clone, Copy, Debug)]
enum Rank {
    Expected,
    Upper,
}

impl Rank {
    fn of(self, plan: &BulkPlan) -> f64 {
        match self {
            Self::Expected => plan.seconds.expected,
            Self::Upper => plan.seconds.high,
        }
    }
}

/// A cut with its dollars, and all that its time follows from.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    cut: BulkCut,
    invocations: u64,
    environments: u32,
    usd: Interval,
    init_usd: f64,
    least_s: f64,
    makespan: Makespan,
    /// Relative deviation of the seconds.
    spread: f64,
}

impl Candidate {
    fn new(
        knowledge: &dyn ServiceKnowledge,
        job: &BulkJob,
        cut: BulkCut,
        bounds: &BulkBounds,
        economics: &Economics,
    ) -> Self {
        let point = RungPoint { memory_mib: cut.memory_mib.0, process_count: cut.process_count };
        let size = u64::from(cut.chunk_items);
        let (chunks, rest) = (job.items / size, job.items % size);
        let law = |items: u64| {
            let items = u32::try_from(items).unwrap_or(u32::MAX);
            let predicted = knowledge.service(point, Work { items, units_per_item: job.units_per_item });
            (LogNormal { ln_mean: predicted.ln_mean, ln_std: predicted.noise_std }, predicted.unknown_std)
        };
        let (full, unknown) = law(size.min(job.items));
        let last = (rest > 0 && chunks > 0).then(|| law(rest).0);
        let invocations = job.items.div_ceil(size);
        let (count, full_count) =
            (invocations as f64, (if last.is_some() { chunks } else { invocations }) as f64);
        let extra_s = knowledge.billing_extra_s();
        let billed = |law: LogNormal| law.expected_billed() + extra_s;
        let run_s = full_count * billed(full) + last.map_or(0.0, billed);
        let environments = cut.parallelism.min(u32::try_from(invocations).unwrap_or(u32::MAX));
        let price = cut.memory_mib.gibibytes()
            * economics.prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds);
        let init_s = knowledge.init_s(cut.memory_mib);
        let init_usd = f64::from(environments) * init_s * price;
        let fees = count * economics.prices.request_usd();
        let relative = (full.ln_std * full.ln_std).exp_m1().sqrt();
        let expected = run_s * price + init_usd + fees;
        let off = (INTERVAL_Z * unknown.hypot(relative / count.sqrt())).exp();
        let makespan = Makespan {
            chunks: if last.is_some() { chunks } else { invocations },
            last_share: last.map_or(0.0, |last| last.mean() / full.mean()),
            workers: u64::from(environments),
            chunk: LogNormal { ln_mean: (full.ln_mean.exp() + extra_s).ln(), ln_std: full.ln_std },
            overhead_s: (knowledge.overhead_s() - extra_s).max(0.0),
            init_s,
            environments_per_10_s: bounds.environments_per_10_s,
        };
        let rounds = count / f64::from(environments);
        let tail = TAIL_SHARE * relative / rounds;
        Self {
            cut: BulkCut { parallelism: environments, ..cut },
            invocations,
            environments,
            usd: Interval {
                expected,
                low: run_s * price / off + init_usd + fees,
                high: run_s * price * off + init_usd + fees,
            },
            init_usd,
            least_s: makespan.least_s(),
            makespan,
            spread: unknown.hypot(relative / count.sqrt()).hypot(tail),
        }
    }

    /// With its time.
    fn plan(&self) -> BulkPlan {
        let expected = self.makespan.seconds();
        let (init_s, off) = (self.makespan.init_s, (INTERVAL_Z * self.spread).exp());
        let beyond = (expected - init_s).max(0.0);
        BulkPlan {
            cut: self.cut,
            seconds: Interval { expected, low: init_s + beyond / off, high: init_s + beyond * off },
            usd: self.usd,
            init_usd: self.init_usd,
            invocations: self.invocations,
            environments: self.environments,
            chunk_seconds: self.makespan.chunk.mean(),
        }
    }

    /// No more than the time that is ranked by.
    fn least(&self, rank: Rank) -> f64 {
        let init_s = self.makespan.init_s;
        match rank {
            Rank::Expected => self.least_s,
            Rank::Upper => init_s + (self.least_s - init_s) * (INTERVAL_Z * self.spread).exp(),
        }
    }

    /// Another memory size or process count.
    fn is_elsewhere(&self, other: &BulkCut) -> bool {
        (self.cut.memory_mib, self.cut.process_count) != (other.memory_mib, other.process_count)
    }
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
