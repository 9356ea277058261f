//! What could have been done, had all arrivals been known: the best fixed plan, and the best plan of each minute.
//!
//! Rule: the traffic is run once to see its minutes; minutes of about the same rate share a law. For each law the cheapest plans by formula, at
//! several allowances of late answers, become candidates; every candidate is run over the whole traffic with all environments warm, and what
//! each cost by minute decides ([`crate::bounds`]).
//! Bounds: at most [`LAWS`] laws and three candidates each; more would find plans that differ by less than their runs do.

use std::time::Duration;

use gateway_contract::{Mebibytes, ServingPlan, WindowStats};
use optimizer_tuner::formula::ArrivalLaw;

use super::prepared::Prepared;
use super::problem::Problem;
use super::runs::Traffic;
use crate::bounds::{
    Known, MinuteArrivals, PlanSearch, SearchLimits, allot, best_fixed, minute_arrivals, minute_outcomes,
    schedule,
};
use crate::deployment::{ColdStarts, FixedPlan, ModelReport, Records, Scheduled};
use gateway_contract::PackingPolicy;

/// Laws of minutes, at most.
const LAWS: usize = 8;
/// Times the allowance of late answers that candidates are chosen for: a minute may be late for the benefit of others.
const ALLOWANCES: [f64; 3] = [0.3, 1.0, 3.0];
const MINUTE: Duration = Duration::from_secs(60);

/// A look back.
pub(super) struct Hindsight<'a> {
    prepared: &'a Prepared,
    known: &'a Known,
    traffic: &'a Traffic,
    minutes: Vec<MinuteArrivals>,
}

impl<'a> Hindsight<'a> {
    pub(super) fn look(
        prepared: &'a Prepared,
        known: &'a Known,
        traffic: &'a Traffic,
    ) -> Result<Self, Problem> {
        let seen = traffic.run(
            prepared,
            Box::new(FixedPlan::new(crate::controllers::best_unbatched(known).plan)),
            ColdStarts::Free,
            Records::Every,
        )?;
        let minutes = minute_arrivals(&windows(&seen), MINUTE);
        Ok(Self { prepared, known, traffic, minutes })
    }

    /// Laws of the minutes with the share of time of each: minutes sorted by rate, cut into groups of about the same number.
    pub(super) fn laws(&self) -> Vec<(f64, ArrivalLaw)> {
        let mut laws: Vec<&ArrivalLaw> =
            self.minutes.iter().filter_map(|minute| minute.law.as_ref()).collect();
        laws.sort_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second));
        let all = self.minutes.len().max(1) as f64;
        let groups = laws.chunks(laws.len().div_ceil(LAWS).max(1));
        groups.map(|group| (group.len() as f64 / all, group[group.len() / 2].clone())).collect()
    }

    fn candidates(&self) -> Vec<(ServingPlan, f64)> {
        let search = PlanSearch::new(self.known);
        let laws = self.laws();
        let mut found: Vec<(ServingPlan, f64)> = Vec::new();
        let each = laws.iter().map(|law| vec![(1.0, law.1.clone())]).chain([laws.clone()]);
        for law in each {
            for allowance in ALLOWANCES {
                let limits = SearchLimits {
                    packing: PackingPolicy::Deadline,
                    per_batch_rungs: true,
                    max_process_count: self.known.max_process_count,
                    allowed_late: allowance * (1.0 - self.known.slo_percentile),
                    plans: 1,
                    max_latency_laws: 200,
                };
                for scored in search.run(&law, &limits) {
                    if !found.iter().any(|(plan, _)| *plan == scored.plan) {
                        found.push((scored.plan, scored.concurrency));
                    }
                }
            }
        }
        found
    }

    fn run(&self, plan: &ServingPlan, cold_starts: ColdStarts) -> Result<Vec<WindowStats>, Problem> {
        let fixed = Box::new(FixedPlan::new(plan.clone()));
        Ok(windows(&self.traffic.run(self.prepared, fixed, cold_starts, Records::Every)?))
    }

    /// The plan that was cheapest over the whole traffic within the objective, cold starts paid.
    pub(super) fn best_fixed(&self) -> Result<ServingPlan, Problem> {
        let candidates = self.candidates();
        let mut outcomes = Vec::new();
        for (plan, _) in &candidates {
            outcomes.push(minute_outcomes(&self.run(plan, ColdStarts::Paid)?, MINUTE));
        }
        let best = best_fixed(&outcomes, 1.0 - self.known.slo_percentile);
        let best = best.and_then(|index| candidates.into_iter().nth(index));
        best.map(|(plan, _)| plan).ok_or_else(|| self.no_plan())
    }

    /// The best plan of each minute, in force from its beginning; with environments warmed before each change if asked.
    pub(super) fn schedule(&self, is_warmed: bool) -> Result<Scheduled, Problem> {
        let candidates = self.candidates();
        let mut outcomes = Vec::new();
        for (plan, _) in &candidates {
            outcomes.push(minute_outcomes(&self.run(plan, ColdStarts::Free)?, MINUTE));
        }
        let allotment = allot(&outcomes, 1.0 - self.known.slo_percentile).ok_or_else(|| self.no_plan())?;
        let plans: Vec<ServingPlan> = candidates.iter().map(|(plan, _)| plan.clone()).collect();
        let mut steps = schedule(&plans, &allotment, MINUTE.as_secs_f64()).into_iter();
        let (_, first) = steps.next().ok_or_else(|| self.no_plan())?;
        let warmed = steps.map(|(at_s, plan)| {
            let same = |candidate: &&(ServingPlan, f64)| candidate.0.rungs == plan.rungs;
            let busy = candidates.iter().find(same).map_or(1.0, |candidate| candidate.1);
            let warm = if is_warmed { environments(&plan, busy) } else { Vec::new() };
            (at_s, plan, warm)
        });
        Ok(Scheduled::warmed(first, warmed.collect::<Vec<_>>()))
    }

    fn no_plan(&self) -> Problem {
        Problem::whole(&self.prepared.study().title, "no plan can serve this model on this account")
    }
}

fn windows(report: &ModelReport) -> Vec<WindowStats> {
    report.windows.iter().map(|record| record.stats.clone()).collect()
}

/// As many environments of each size as a plan keeps busy, and one more.
fn environments(plan: &ServingPlan, busy: f64) -> Vec<(Mebibytes, u32)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded count")]
    let wanted = busy.ceil().clamp(1.0, 100.0) as u32 + 1;
    let mut sizes: Vec<Mebibytes> = plan.rungs.iter().map(|rung| rung.memory_mib).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.into_iter().map(|size| (size, wanted)).collect()
}
