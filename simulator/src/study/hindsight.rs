//! What could have been done, had all arrivals been known: the best fixed plan, and the best plan of each minute.
//!
//! Rule: the traffic is run once to see its minutes; minutes of about the same rate share a law. For each law the cheapest plans by formula, at
//! several allowances of late answers, become candidates; every candidate is run over the whole traffic with all environments warm, and what
//! each cost by minute decides ([`crate::bounds`]). A schedule is then run as a whole, and put together again under a smaller allowance if it misses.
//! Bounds: at most [`LAWS`] laws and three candidates each; more would find plans that differ by less than their runs do.

use std::time::Duration;

use gateway_contract::{PackingPolicy, ServingPlan};
use optimizer_tuner::formula::ArrivalLaw;

use super::prepared::Prepared;
use super::problem::Problem;
use super::runs::Traffic;
use crate::bounds::{
    Known, MinuteArrivals, MinuteOutcome, PlanSearch, SearchLimits, allot, best_fixed, minute_arrivals,
    minute_outcomes, schedule, warmed_schedule,
};
use crate::deployment::{ColdStarts, FixedPlan, Records, Scheduled};

/// Laws of minutes, at most.
const LAWS: usize = 5;
/// Times the allowance of late answers that candidates are chosen for: a minute may be late for the benefit of others.
const ALLOWANCES: [f64; 3] = [0.3, 1.0, 3.0];
const MINUTE: Duration = Duration::from_secs(60);

/// Shares of the allowance of late answers that a schedule is put together with, until it keeps all of it when it is run: batches that cross a
/// change of plan are late by a little more.
const MARGINS: [f64; 4] = [1.0, 0.9, 0.75, 0.5];
/// The same where cold starts need a part of it.
const RESERVES: [f64; 4] = [1.0, 0.6, 0.3, 0.1];

/// A schedule and what it came to.
struct Judged {
    schedule: Scheduled,
    usd: f64,
    late: f64,
}

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
        let minutes = minute_arrivals(&seen.window_stats(), MINUTE);
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

    fn candidates(&self) -> Vec<ServingPlan> {
        let search = PlanSearch::new(self.known);
        let laws = self.laws();
        let mut found: Vec<ServingPlan> = Vec::new();
        let each = laws.iter().map(|law| vec![(1.0, law.1.clone())]).chain([laws.clone()]);
        for law in each {
            for allowance in ALLOWANCES {
                let limits = SearchLimits {
                    packing: PackingPolicy::Deadline,
                    per_batch_rungs: true,
                    max_process_count: self.known.max_process_count,
                    allowed_late: allowance * self.allowed(),
                    plans: 1,
                    max_latency_laws: 200,
                };
                for scored in search.run(&law, &limits) {
                    if !found.contains(&scored.plan) {
                        found.push(scored.plan);
                    }
                }
            }
        }
        found
    }

    /// What each candidate comes to by minute.
    fn outcomes(
        &self,
        candidates: &[ServingPlan],
        cold_starts: ColdStarts,
    ) -> Result<Vec<Vec<MinuteOutcome>>, Problem> {
        let by_minute = |plan: &ServingPlan| {
            let fixed = Box::new(FixedPlan::new(plan.clone()));
            let report = self.traffic.run(self.prepared, fixed, cold_starts, Records::Merged(60))?;
            Ok(minute_outcomes(&report.window_stats(), MINUTE))
        };
        candidates.iter().map(by_minute).collect()
    }

    fn allowed(&self) -> f64 {
        1.0 - self.known.slo_percentile
    }

    /// The plan that was cheapest over the whole traffic within the objective, cold starts paid.
    pub(super) fn best_fixed(&self) -> Result<ServingPlan, Problem> {
        let candidates = self.candidates();
        let outcomes = self.outcomes(&candidates, ColdStarts::Paid)?;
        let best = best_fixed(&outcomes, self.allowed()).and_then(|index| candidates.into_iter().nth(index));
        best.ok_or_else(|| self.no_plan())
    }

    /// The best plan of each minute without cold starts, or one plan for all of them where changing costs more than it gains.
    pub(super) fn oracle(&self) -> Result<Scheduled, Problem> {
        let candidates = self.candidates();
        let outcomes = self.outcomes(&candidates, ColdStarts::Free)?;
        let one = best_fixed(&outcomes, self.allowed()).and_then(|index| candidates.get(index));
        let one = Scheduled::new(one.ok_or_else(|| self.no_plan())?.clone(), []);
        let mut found = vec![self.judged(one, ColdStarts::Free)?];
        for share in MARGINS {
            let steps = self.steps(&candidates, &outcomes, share)?;
            let (first, later) = steps.split_first().ok_or_else(|| self.no_plan())?;
            let schedule = Scheduled::new(first.1.clone(), later.iter().cloned());
            let judged = self.judged(schedule, ColdStarts::Free)?;
            let keeps = judged.late <= self.allowed();
            found.push(judged);
            if keeps {
                break;
            }
        }
        self.cheapest(found)
    }

    /// The best plan of each minute, with the environments that it will keep busy warmed before; of several allowances the first that leaves
    /// enough for cold starts.
    pub(super) fn clairvoyant(&self) -> Result<Scheduled, Problem> {
        let candidates = self.candidates();
        let outcomes = self.outcomes(&candidates, ColdStarts::Free)?;
        let mut found = Vec::new();
        for share in RESERVES {
            let steps = self.steps(&candidates, &outcomes, share)?;
            let judged = self.judged(self.warmed(&steps)?, ColdStarts::Paid)?;
            let keeps = judged.late <= self.allowed();
            found.push(judged);
            if keeps {
                break;
            }
        }
        self.cheapest(found)
    }

    /// Plans with the second from which each serves, under a share of the allowance of late answers.
    fn steps(
        &self,
        candidates: &[ServingPlan],
        outcomes: &[Vec<MinuteOutcome>],
        share: f64,
    ) -> Result<Vec<(f64, ServingPlan)>, Problem> {
        let found = allot(outcomes, self.allowed() * share).ok_or_else(|| self.no_plan())?;
        Ok(schedule(candidates, &found, MINUTE.as_secs_f64()))
    }

    fn judged(&self, schedule: Scheduled, cold_starts: ColdStarts) -> Result<Judged, Problem> {
        let report =
            self.traffic.run(self.prepared, Box::new(schedule.clone()), cold_starts, Records::None)?;
        Ok(Judged { schedule, usd: report.usd_per_million(), late: 1.0 - report.share_within_slo() })
    }

    /// The cheapest that keeps the objective; if none does, the one that misses it least.
    fn cheapest(&self, found: Vec<Judged>) -> Result<Scheduled, Problem> {
        let allowed = self.allowed();
        let rank =
            |judged: &Judged| if judged.late <= allowed { (false, judged.usd) } else { (true, judged.late) };
        let best = found.into_iter().min_by(|a, b| {
            let (a, b) = (rank(a), rank(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        best.map(|judged| judged.schedule).ok_or_else(|| self.no_plan())
    }

    /// The plans with the environments that each minute will keep busy warmed before it.
    fn warmed(&self, steps: &[(f64, ServingPlan)]) -> Result<Scheduled, Problem> {
        let search = PlanSearch::new(self.known);
        let laws = self.laws();
        let seconds = MINUTE.as_secs_f64();
        let rates: Vec<f64> = self.minutes.iter().map(|minute| minute.requests as f64 / seconds).collect();
        let busy = |plan: &ServingPlan| search.concurrency_per_request(plan, &laws);
        warmed_schedule(steps, &rates, seconds, self.known.function.as_ref(), busy)
            .ok_or_else(|| self.no_plan())
    }

    fn no_plan(&self) -> Problem {
        Problem::whole(&self.prepared.study().title, "no plan can serve this model on this account")
    }
}
