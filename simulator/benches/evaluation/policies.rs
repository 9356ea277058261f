//! Every policy and bound on one cell and seed.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_contract::{Mebibytes, PackingPolicy, ServingPlan, WindowStats};
use optimizer_tuner::PolicyKind;
use optimizer_tuner::formula::ArrivalLaw;
use simulator::bounds::{
    Allotment, MinuteArrivals, MinuteOutcome, PlanSearch, SearchLimits, allot, best_fixed, minute_arrivals,
    minute_outcomes, physical_floor_usd, schedule, warmed_schedule,
};
use simulator::controllers::batch::batch;
use simulator::controllers::harmony_batch::harmony_batch;
use simulator::controllers::mbs::mbs;
use simulator::controllers::{best_unbatched, kserve, triton};
use simulator::deployment::{ColdStarts, Controller, FixedPlan, Records, Scheduled, TunerController};

use crate::world::{Outcome, PERCENTILE, World};

/// Length of what the oracle plans by.
pub const MINUTE_S: f64 = 60.0;
/// Minute laws that candidates are made for.
const GROUPS: usize = 5;
/// Allowances that the clairvoyant tries, as shares of the objective's: it keeps the rest for cold starts.
const RESERVES: [f64; 4] = [1.0, 0.6, 0.3, 0.1];

/// Shares of the objective's allowance that the oracle's schedule is put together with, until it keeps all of it.
const MARGINS: [f64; 5] = [1.0, 0.9, 0.8, 0.65, 0.5];

/// Policies that have to keep the objective, in the order of the tables.
pub const BASELINES: [&str; 9] = [
    "unbatched_best",
    "unbatched_1769",
    "unbatched_3008",
    "kserve",
    "triton",
    "batch",
    "mbs",
    "harmony_batch",
    "black_box",
];

/// Results by policy.
pub type Results = BTreeMap<&'static str, Outcome>;

/// What the oracle found on one seed, for the others: the load curve is the same.
#[derive(Clone, Debug)]
pub struct Plans {
    pub schedule: Vec<(f64, ServingPlan)>,
    pub careful: Vec<Vec<(f64, ServingPlan)>>,
    pub fixed: ServingPlan,
    pub triton: ServingPlan,
    /// Mean invocations in flight by minute under the fixed plan, to warm by.
    pub concurrency: Vec<f64>,
}

/// Runs everything. `plans` holds what the oracle found before on this cell.
pub fn run(world: &World, seed: u64, plans: &mut Option<Plans>) -> Results {
    let mut results = Results::new();
    let first = world.known.unbatched(Mebibytes(3008));
    let is_3008 = world.known.function.memory_used(1).0 <= 3008;
    let (outcome, report) = paid(world, fixed(&first), seed, Records::Every);
    if is_3008 {
        results.insert("unbatched_3008", outcome);
    }
    if plans.is_none() {
        *plans = Some(find(world, seed, &report.window_stats()));
    }
    drop(report);
    let Some(plans) = plans else { return results };
    add_bounds(world, seed, plans, &mut results);
    add_baselines(world, seed, plans, &mut results);
    results.insert("grey_box", grey_box(world, seed));
    results
}

/// Penstock.
pub fn grey_box(world: &World, seed: u64) -> Outcome {
    let grey = TunerController::new(
        world.settings(PolicyKind::GreyBox, seed),
        world.known.base.clone(),
        world.account.economics.clone(),
    );
    let (outcome, report) = paid(world, Box::new(grey.unwrap()), seed, Records::None);
    if world.shows_plans {
        for event in &report.events {
            println!(
                "{:>9.1} {}",
                event.at.as_nanos() as f64 / 1e9,
                serde_json::to_string(&event.what).unwrap()
            );
        }
    }
    outcome
}

fn paid(
    world: &World,
    controller: Box<dyn Controller>,
    seed: u64,
    records: Records,
) -> (Outcome, simulator::deployment::ModelReport) {
    world.run(controller, seed, ColdStarts::Paid, records)
}

fn fixed(plan: &ServingPlan) -> Box<dyn Controller> {
    Box::new(FixedPlan::new(plan.clone()))
}

fn scheduled(plans: &[(f64, ServingPlan)]) -> Box<dyn Controller> {
    let later = plans.iter().skip(1).cloned();
    Box::new(Scheduled::new(plans[0].1.clone(), later))
}

fn add_bounds(world: &World, seed: u64, plans: &Plans, results: &mut Results) {
    results.insert("oracle", oracle(world, seed, plans));
    results.insert("best_fixed", world.run(fixed(&plans.fixed), seed, ColdStarts::Free, Records::None).0);
    results.insert("best_fixed_cold", paid(world, fixed(&plans.fixed), seed, Records::None).0);
    let mut clairvoyant: Option<Outcome> = None;
    for careful in &plans.careful {
        let outcome = paid(world, clairvoyant_schedule(world, careful, plans), seed, Records::None).0;
        if clairvoyant.is_none_or(|before| outcome.late_share < before.late_share) {
            clairvoyant = Some(outcome);
        }
        if outcome.late_share <= 1.0 - PERCENTILE {
            break;
        }
    }
    results.extend(clairvoyant.map(|outcome| ("clairvoyant", outcome)));
    let floor = physical_floor_usd(&world.known) * 1e6;
    results.insert("floor", Outcome { usd_per_million: floor, ..Outcome::default() });
}

/// The bound: the better of the schedule and the best fixed plan, since a schedule that was put together minute by minute may lose a little where
/// batches cross minutes.
pub fn oracle(world: &World, seed: u64, plans: &Plans) -> Outcome {
    let free = |controller| world.run(controller, seed, ColdStarts::Free, Records::None).0;
    let fixed = free(fixed(&plans.fixed));
    if plans.schedule.len() == 1 && plans.schedule[0].1.rungs == plans.fixed.rungs {
        return fixed;
    }
    let scheduled = free(scheduled(&plans.schedule));
    let is_better = scheduled.usd_per_million < fixed.usd_per_million || fixed.late_share > 1.0 - PERCENTILE;
    if is_better { scheduled } else { fixed }
}

/// Each minute's plan with its environments warmed before the minute begins.
fn clairvoyant_schedule(world: &World, careful: &[(f64, ServingPlan)], plans: &Plans) -> Box<dyn Controller> {
    // What is busy is taken from the fixed plan, whichever serves.
    let function = world.known.function.as_ref();
    Box::new(warmed_schedule(careful, &plans.concurrency, MINUTE_S, function, |_| 1.0).unwrap())
}

fn add_baselines(world: &World, seed: u64, plans: &Plans, results: &mut Results) {
    let known = &world.known;
    let mut add = |name: &'static str, controller: Box<dyn Controller>| {
        results.insert(name, paid(world, controller, seed, Records::None).0);
    };
    add("unbatched_best", fixed(&best_unbatched(known).plan));
    if known.function.memory_used(1).0 <= 1769 {
        add("unbatched_1769", fixed(&known.unbatched(Mebibytes(1769))));
    }
    add("kserve", fixed(&kserve(known).plan));
    add("triton", fixed(&plans.triton));
    add("batch", Box::new(batch(known)));
    add("mbs", Box::new(mbs(known, seed)));
    add("harmony_batch", Box::new(harmony_batch(known)));
    let black = TunerController::new(
        world.settings(PolicyKind::BlackBox, seed),
        known.base.clone(),
        world.account.economics.clone(),
    );
    add("black_box", Box::new(black.unwrap()));
}

/// The oracle's plans, the best fixed plan and Triton's, from true arrivals.
pub fn find(world: &World, seed: u64, windows: &[WindowStats]) -> Plans {
    let minutes = minute_arrivals(windows, Duration::from_secs_f64(MINUTE_S));
    let search = PlanSearch::new(&world.known);
    let laws = representatives(&minutes);
    let candidates = candidates(&search, best_unbatched(&world.known).plan, &laws, world.candidates);
    let outcomes: Vec<Vec<MinuteOutcome>> =
        candidates.iter().map(|plan| outcomes_by_minute(world, plan, seed)).collect();
    let allowed = 1.0 - PERCENTILE;
    let schedule_of = |found: &Allotment| schedule(&candidates, found, MINUTE_S);
    let careful = RESERVES
        .iter()
        .filter_map(|reserve| allot(&outcomes, allowed * reserve).map(|found| schedule_of(&found)))
        .collect();
    let fixed = candidates[best_fixed(&outcomes, allowed).unwrap()].clone();
    let per_request = search.concurrency_per_request(&fixed, &laws);
    Plans {
        schedule: feasible_schedule(world, seed, &|share| {
            schedule_of(&allot(&outcomes, allowed * share).unwrap())
        }),
        careful,
        triton: triton(&world.known, &search, &laws).plan,
        concurrency: minutes.iter().map(|minute| minute.requests as f64 / MINUTE_S * per_request).collect(),
        fixed,
    }
}

/// The cheapest schedule that keeps the objective when it is really run: where plans change, batches of both are late by a little more.
fn feasible_schedule(
    world: &World,
    seed: u64,
    of_allowance: &dyn Fn(f64) -> Vec<(f64, ServingPlan)>,
) -> Vec<(f64, ServingPlan)> {
    let mut last = Vec::new();
    for share in MARGINS {
        let plans = of_allowance(share);
        if plans != last {
            let outcome = world.run(scheduled(&plans), seed, ColdStarts::Free, Records::None).0;
            if outcome.late_share <= 1.0 - PERCENTILE {
                return plans;
            }
        }
        last = plans;
    }
    last
}

/// What a plan comes to, minute by minute, without cold starts.
pub fn outcomes_by_minute(world: &World, plan: &ServingPlan, seed: u64) -> Vec<MinuteOutcome> {
    let records = Records::Merged(MINUTE_S as u32);
    let (_, report) = world.run(fixed(plan), seed, ColdStarts::Free, records);
    let mut merged = report.window_stats();
    // What is answered after the last arrival belongs to the last minute.
    let minutes = (world.seconds / MINUTE_S) as usize;
    let each = |window: &WindowStats| minute_outcomes(std::slice::from_ref(window), window.length)[0];
    let tail: Vec<MinuteOutcome> = merged.split_off(minutes.min(merged.len())).iter().map(each).collect();
    let mut outcomes: Vec<MinuteOutcome> = merged.iter().map(each).collect();
    if let Some(last) = outcomes.last_mut() {
        for more in tail {
            last.usd += more.usd;
            last.ended += more.ended;
            last.late += more.late;
        }
    }
    outcomes
}

/// Laws of minutes from quiet to busy, with their shares of time.
pub fn representatives(minutes: &[MinuteArrivals]) -> Vec<(f64, ArrivalLaw)> {
    let mut laws: Vec<&ArrivalLaw> = minutes.iter().filter_map(|minute| minute.law.as_ref()).collect();
    laws.sort_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second));
    let size = laws.len().div_ceil(GROUPS).max(1);
    let middle = |group: &[&ArrivalLaw]| {
        let mean = group.iter().map(|law| law.requests_per_second).sum::<f64>() / group.len() as f64;
        (group.len() as f64, ArrivalLaw { requests_per_second: mean, ..group[group.len() / 2].clone() })
    };
    laws.chunks(size).map(middle).collect()
}

/// Plans that are best for some minute, or for all of them together, under several allowances.
pub fn candidates(
    search: &PlanSearch<'_>,
    unbatched: ServingPlan,
    laws: &[(f64, ArrivalLaw)],
    most: usize,
) -> Vec<ServingPlan> {
    let limits = |packing: PackingPolicy, allowed_late: f64, plans: usize| SearchLimits {
        packing,
        per_batch_rungs: true,
        max_process_count: u32::MAX,
        allowed_late,
        plans,
        max_latency_laws: 3000,
    };
    let mut wanted: Vec<ServingPlan> = Vec::new();
    let mut add = |plans: Vec<ServingPlan>| {
        for plan in plans {
            if wanted.len() < most && !wanted.contains(&plan) {
                wanted.push(plan);
            }
        }
    };
    let by = |packing, laws: &[(f64, ArrivalLaw)], allowed: f64, count: usize| -> Vec<ServingPlan> {
        search.run(laws, &limits(packing, allowed, count)).into_iter().map(|found| found.plan).collect()
    };
    // More than the objective allows, too: the formula may be too careful, and what is run decides.
    for allowed in [0.01, 0.02, 0.005, 0.04] {
        for packing in [PackingPolicy::Deadline, PackingPolicy::Fifo] {
            add(by(packing, laws, allowed, 1));
        }
    }
    add(vec![unbatched]);
    for allowed in [0.01, 0.02] {
        for law in laws.iter().rev() {
            add(by(PackingPolicy::Deadline, std::slice::from_ref(law), allowed, 1));
        }
    }
    add(by(PackingPolicy::Deadline, laws, 0.08, 1));
    add(by(PackingPolicy::Fifo, laws, 0.08, 1));
    add(by(PackingPolicy::Deadline, laws, 0.01, 3));
    wanted
}
