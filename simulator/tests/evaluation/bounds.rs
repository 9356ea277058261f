use std::time::Duration;

use gateway_contract::{Mebibytes, PackingPolicy, ServiceTimeTable, ServingPlan};
use optimizer_tuner::formula::ArrivalLaw;
use simulator::bounds::{
    Known, KnownPlace, PlanSearch, SearchLimits, allot, minute_arrivals, minute_outcomes, physical_floor_usd,
};
use simulator::deployment::{ColdStarts, FixedPlan};

use super::{known, serve};

const RATE: f64 = 20.0;

fn limits(packing: PackingPolicy) -> SearchLimits {
    SearchLimits {
        packing,
        per_batch_rungs: true,
        max_process_count: 2,
        allowed_late: 0.01,
        plans: 1,
        max_latency_laws: 100,
    }
}

fn simulated(known: &Known, plan: ServingPlan) -> (f64, f64) {
    let report = serve(known, RATE, Box::new(FixedPlan::new(plan)), 1500.0, ColdStarts::Free);
    (report.usd_per_million(), 1.0 - report.share_within_slo())
}

#[test]
fn the_best_plan_does_what_the_search_says() {
    let known = known();
    let search = PlanSearch::new(&known);
    for packing in [PackingPolicy::Deadline, PackingPolicy::Fifo] {
        let best = search.run(&[(1.0, ArrivalLaw::poisson(RATE))], &limits(packing)).remove(0);
        let (usd, late) = simulated(&known, best.plan);
        assert!((usd / (best.usd_per_request * 1e6) - 1.0).abs() < 0.03, "{packing:?}: {usd}");
        assert!((late - best.late_share).abs() < 0.006, "{packing:?}: {late} {}", best.late_share);
    }
}

#[test]
fn no_plan_of_a_grid_beats_the_search() {
    let known = known();
    let search = PlanSearch::new(&known);
    let best = search.run(&[(1.0, ArrivalLaw::poisson(RATE))], &limits(PackingPolicy::Deadline)).remove(0);
    let (least, _) = simulated(&known, best.plan);
    for place in known.places() {
        for bound in [1, 2, 3, 4, 6, 8, 12] {
            for closing in [0.6, 0.9, 0.99] {
                let upper = |items| Duration::from_secs_f64(known.upper_seconds(place, items, closing));
                let plan = ServingPlan {
                    packing: PackingPolicy::Deadline,
                    max_batch_size: bound,
                    max_queue_delay: known.base.slo_latency,
                    deadline_margin: Duration::ZERO,
                    service_time_upper: ServiceTimeTable::new(
                        (1..=bound).map(|items| (items, upper(items))).collect(),
                    )
                    .unwrap(),
                    rungs: vec![known.rung(bound, place)],
                    ..known.base.clone()
                };
                let (usd, late) = simulated(&known, plan);
                // 30,000 requests leave 0.06 points of doubt about a share of 1 %.
                assert!(
                    late > 0.0112 || usd > least * 0.99,
                    "{place:?}, {bound} items, closing at {closing}: {usd} instead of {least}, {late} late"
                );
            }
        }
    }
}

#[test]
fn nothing_is_cheaper_than_the_floor_where_the_credit_flows_evenly() {
    let known = known();
    let floor = physical_floor_usd(&known);
    assert!((floor - 0.012 * known.usd_per_second(Mebibytes(1769))).abs() < 1e-9 * floor + 1e-12);
    for place in known.places() {
        for items in [1, 24] {
            assert!(known.batch_usd(place, items) / f64::from(items) > floor, "{place:?} {items}");
        }
    }
}

#[test]
fn an_oracle_of_minutes_is_at_most_as_dear_as_each_plan() {
    let known = known();
    let minute = Duration::from_secs(60);
    let plan_at = |memory, bound| {
        let place = KnownPlace { memory_mib: Mebibytes(memory), process_count: 1 };
        ServingPlan {
            max_batch_size: bound,
            rungs: vec![known.rung(bound, place)],
            ..known.unbatched(Mebibytes(memory))
        }
    };
    let plans = [plan_at(1769, 1), plan_at(1024, 1), plan_at(3008, 1)];
    let outcomes: Vec<_> = plans
        .iter()
        .map(|plan| {
            let report = serve(&known, RATE, Box::new(FixedPlan::new(plan.clone())), 600.0, ColdStarts::Free);
            let seen = report.window_stats();
            assert_eq!(
                minute_arrivals(&seen, minute).iter().map(|it| it.requests).sum::<u64>(),
                report.counts.requests
            );
            minute_outcomes(&seen, minute)
        })
        .collect();
    let found = allot(&outcomes, 0.01).unwrap();
    for each in &outcomes {
        let (usd, late): (f64, u64) = each.iter().fold((0.0, 0), |sum, it| (sum.0 + it.usd, sum.1 + it.late));
        assert!(found.usd <= usd + 1e-12 || late > found.late, "{usd} {late}");
    }
}
