//! One cut with its dollars by formula, and its time when it is asked for.

use super::knowledge::{ServiceKnowledge, Work};
use super::makespan::Makespan;
use super::plan::{BulkBounds, BulkCut, BulkJob, BulkPlan, Interval};
use crate::formula::LogNormal;
use crate::service::belief::RungPoint;
use crate::tuner::Economics;

/// Deviation of the end of a list of chunks, of a chunk's own in its last round.
const TAIL_SHARE: f64 = 0.5;

/// Which time plans are compared by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rank {
    Expected,
    Upper,
}

impl Rank {
    pub(super) fn of(self, plan: &BulkPlan) -> f64 {
        match self {
            Self::Expected => plan.seconds.expected,
            Self::Upper => plan.seconds.high,
        }
    }
}

/// A cut with its dollars, and all that its time follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) cut: BulkCut,
    invocations: u64,
    environments: u32,
    pub(super) usd: Interval,
    init_usd: f64,
    least_s: f64,
    makespan: Makespan,
    /// Factor from the expected seconds after INIT to those that are kept with the wanted confidence.
    off: f64,
}

impl Candidate {
    pub(super) fn new(
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
        let by_count = relative / count.sqrt();
        let deviations = LogNormal { ln_mean: 0.0, ln_std: 1.0 }.quantile(bounds.confidence).ln().max(0.0);
        let off = (deviations * unknown.hypot(by_count)).exp();
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
            off: (deviations * unknown.hypot(by_count).hypot(tail)).exp(),
        }
    }

    /// With its time.
    pub(super) fn plan(&self) -> BulkPlan {
        let expected = self.makespan.seconds();
        let (init_s, off) = (self.makespan.init_s, self.off);
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
    pub(super) fn least(&self, rank: Rank) -> f64 {
        let init_s = self.makespan.init_s;
        match rank {
            Rank::Expected => self.least_s,
            Rank::Upper => init_s + (self.least_s - init_s) * self.off,
        }
    }

    /// Another memory size or process count.
    pub(super) fn is_elsewhere(&self, other: &BulkCut) -> bool {
        (self.cut.memory_mib, self.cut.process_count) != (other.memory_mib, other.process_count)
    }
}
