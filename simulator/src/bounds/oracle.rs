//! The oracle's choice: for each minute the plan that was cheapest there, under one allowance of late answers over the whole run.
//!
//! Rule: every candidate plan is run over the same arrivals. Choosing per minute the plan with the least dollars + μ·late answers is optimal for
//! the allowance that it uses up (Lagrange); μ is found by bisection. What is chosen is then run through the engine as a schedule, since batches
//! cross minutes. A minute may thus be late for the benefit of others: the objective holds over the run, as it does for every policy.
//! Reference: Everett, "Generalized Lagrange multiplier method", 1963.

use gateway_contract::{Mebibytes, PlanRevision, ServingPlan};

use super::minutes::MinuteOutcome;
use crate::deployment::Scheduled;
use crate::lambda::FunctionModel;

/// Which candidate serves each minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Allotment {
    /// Index of the candidate, by minute.
    pub chosen: Vec<usize>,
    /// Dollars that it should cost.
    pub usd: f64,
    /// Late answers that it should have.
    pub late: u64,
    /// Whether the allowance is kept.
    pub is_feasible: bool,
}

/// Chooses among candidates, each given by its outcomes by minute. `None` without candidates.
///
/// `allowed_late` is the share of requests that may be late, 0 to 1.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn allot(outcomes: &[Vec<MinuteOutcome>], allowed_late: f64) -> Option<Allotment> {
    let minutes = outcomes.iter().map(Vec::len).min()?;
    let ended: u64 = outcomes[0].iter().map(|minute| minute.ended).sum();
    let allowed = allowed_late * ended as f64;
    let at = |usd_per_late: f64| {
        let (mut usd, mut late) = (0.0, 0);
        let mut chosen = Vec::with_capacity(minutes);
        for minute in 0..minutes {
            let price = |index: &usize| {
                let outcome = &outcomes[*index][minute];
                outcome.usd + usd_per_late * outcome.late as f64
            };
            let best = (0..outcomes.len()).min_by(|a, b| price(a).total_cmp(&price(b))).unwrap_or(0);
            usd += outcomes[best][minute].usd;
            late += outcomes[best][minute].late;
            chosen.push(best);
        }
        Allotment { chosen, usd, late, is_feasible: late as f64 <= allowed }
    };
    let free = at(0.0);
    if free.is_feasible {
        return Some(free);
    }
    // From a millionth of a request's price to so much that only late answers count.
    let usual = free.usd / ended.max(1) as f64;
    let (mut low, mut high) = ((usual * 1e-6).ln(), (usual * 1e6).ln());
    let mut best = at(high.exp());
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let found = at(middle.exp());
        if found.is_feasible {
            high = middle;
            best = found;
        } else {
            low = middle;
        }
    }
    Some(best)
}

/// The candidate that is cheapest over the whole run and keeps the allowance; if none does, the one with fewest late answers.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn best_fixed(outcomes: &[Vec<MinuteOutcome>], allowed_late: f64) -> Option<usize> {
    let whole: Vec<MinuteOutcome> = outcomes
        .iter()
        .map(|minutes| {
            minutes.iter().fold(MinuteOutcome::default(), |sum, minute| MinuteOutcome {
                usd: sum.usd + minute.usd,
                ended: sum.ended + minute.ended,
                late: sum.late + minute.late,
            })
        })
        .collect();
    let keeps = |index: &usize| whole[*index].late as f64 <= allowed_late * whole[*index].ended as f64;
    let feasible = (0..whole.len()).filter(keeps).min_by(|a, b| whole[*a].usd.total_cmp(&whole[*b].usd));
    feasible.or_else(|| (0..whole.len()).min_by_key(|index| whole[*index].late))
}

/// Plans with the second from which each serves, where the choice changes. Revisions ascend from 1.
#[must_use]
pub fn schedule(
    candidates: &[ServingPlan],
    allotment: &Allotment,
    minute_seconds: f64,
) -> Vec<(f64, ServingPlan)> {
    let mut plans: Vec<(f64, ServingPlan)> = Vec::new();
    let mut last = None;
    for (minute, &index) in allotment.chosen.iter().enumerate() {
        if last == Some(index) {
            continue;
        }
        last = Some(index);
        let revision = plans.len() as u64 + 1;
        let parent = (revision > 1).then(|| PlanRevision(revision - 1));
        let plan = ServingPlan { revision: PlanRevision(revision), parent, ..candidates[index].clone() };
        plans.push((minute as f64 * minute_seconds, plan));
    }
    plans
}

/// The clairvoyant's schedule: each minute's plan of `steps` (from [`schedule`]) with its environments warmed just before: as many of each size as
/// the minute and the next keep busy (`load` of the minute × `busy_per_load` of the plan), three deviations of a Poisson number in reserve, and one
/// more. Warming begins by the longest INIT, and a second, before the minute. `None` without steps.
pub fn warmed_schedule(
    steps: &[(f64, ServingPlan)],
    load: &[f64],
    minute_seconds: f64,
    function: &dyn FunctionModel,
    busy_per_load: impl Fn(&ServingPlan) -> f64,
) -> Option<Scheduled> {
    let (_, first) = steps.first()?;
    let later = (1..load.len()).filter_map(|minute| {
        let at_s = minute as f64 * minute_seconds;
        let (_, plan) = steps.iter().rev().find(|(from_s, _)| *from_s <= at_s + 1e-6)?;
        let next = load.get(minute + 1).copied().unwrap_or(0.0);
        let busy = load[minute].max(next) * busy_per_load(plan);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded count")]
        let wanted = (busy + 3.0 * busy.sqrt()).ceil().clamp(0.0, 1000.0) as u32 + 1;
        let mut sizes: Vec<Mebibytes> = plan.rungs.iter().map(|rung| rung.memory_mib).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let init_s = sizes.iter().map(|size| function.init_seconds(*size)).fold(0.0, f64::max);
        let warm = sizes.into_iter().map(|size| (size, wanted)).collect();
        Some((at_s - init_s.ceil() - 1.0, plan.clone(), warm))
    });
    Some(Scheduled::warmed(first.clone(), later.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(usd: f64, late: u64) -> MinuteOutcome {
        MinuteOutcome { usd, ended: 100, late }
    }

    /// All ways to choose, for small problems.
    fn by_brute_force(outcomes: &[Vec<MinuteOutcome>], allowed: u64) -> f64 {
        let (plans, minutes) = (outcomes.len(), outcomes[0].len());
        let mut best = f64::INFINITY;
        for code in 0..plans.pow(u32::try_from(minutes).unwrap()) {
            let mut rest = code;
            let chosen = (0..minutes).map(|minute| {
                let plan = rest % plans;
                rest /= plans;
                outcomes[plan][minute]
            });
            let (usd, late) = chosen.fold((0.0, 0), |(usd, late), it| (usd + it.usd, late + it.late));
            if late <= allowed {
                best = best.min(usd);
            }
        }
        best
    }

    #[test]
    fn the_choice_keeps_the_allowance_and_is_nearly_the_best_of_all() {
        let mut random = crate::random::Random::new(4);
        for _ in 0..50 {
            let outcomes: Vec<Vec<MinuteOutcome>> = (0..4)
                .map(|_| (0..6).map(|_| minute(1.0 + random.unit(), random.next_u64() % 4)).collect())
                .collect();
            let least: u64 = (0..6).map(|at| outcomes.iter().map(|plan| plan[at].late).min().unwrap()).sum();
            let allowed = 6;
            let found = allot(&outcomes, allowed as f64 / 600.0).unwrap();
            if least > allowed {
                assert!(!found.is_feasible && found.late == least);
                continue;
            }
            assert!(found.is_feasible && found.late <= allowed);
            let exact = by_brute_force(&outcomes, allowed);
            // A choice of whole minutes may leave a little of the allowance unused.
            assert!(found.usd >= exact - 1e-12 && found.usd <= exact * 1.12, "{} {exact}", found.usd);
        }
    }

    #[test]
    fn a_minute_may_be_late_for_the_benefit_of_others() {
        let careful = vec![minute(2.0, 0), minute(2.0, 0)];
        let daring = vec![minute(1.9, 2), minute(1.0, 2)];
        let found = allot(&[careful.clone(), daring.clone()], 0.01).unwrap();
        assert_eq!(found.chosen, [0, 1]);
        assert_eq!(best_fixed(&[careful, daring], 0.01), Some(0));
    }

    #[test]
    fn nothing_late_needs_no_price() {
        let found = allot(&[vec![minute(1.0, 0)], vec![minute(0.5, 0)]], 0.0).unwrap();
        assert_eq!((found.chosen, found.is_feasible), (vec![1], true));
        assert_eq!(allot(&[], 0.01), None);
    }
}
