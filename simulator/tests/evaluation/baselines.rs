use gateway_contract::{Mebibytes, PackingPolicy};
use optimizer_tuner::formula::ArrivalLaw;
use simulator::arrivals::{ArrivalProcess, Mmpp2};
use simulator::bounds::PlanSearch;
use simulator::controllers::batch::batch;
use simulator::controllers::harmony_batch::harmony_batch;
use simulator::controllers::mbs::mbs;
use simulator::controllers::{best_unbatched, kserve, triton};
use simulator::deployment::{ColdStarts, Controller, FixedPlan, ModelReport};

use super::{known, serve, serve_from};

/// Seconds left out at the start: before the first choice, and while its environments start.
const SETTLED_S: f64 = 120.0;
const END_S: f64 = 1200.0;

fn run(controller: Box<dyn Controller>) -> (f64, f64, ModelReport) {
    let report = serve(&known(), 20.0, controller, END_S, ColdStarts::Paid);
    let (usd, late) = report.between(SETTLED_S, END_S);
    (usd, late, report)
}

#[test]
fn unbatched_at_its_best_size_is_the_cheapest_unbatched_that_keeps_the_objective() {
    let known = known();
    let (best, late, _) = run(Box::new(FixedPlan::new(best_unbatched(&known).plan)));
    assert!(late <= 0.01, "{late}");
    for size in [512, 1769, 3008] {
        let (usd, late, _) = run(Box::new(FixedPlan::new(known.unbatched(Mebibytes(size)))));
        assert!(late > 0.01 || best <= usd * 1.001, "{size}: {usd}, best {best}");
    }
}

#[test]
fn published_batchers_keep_the_objective_and_cost_less_than_no_batching() {
    let known = known();
    let (alone, ..) = run(Box::new(FixedPlan::new(best_unbatched(&known).plan)));
    let controllers: [(&str, Box<dyn Controller>); 3] = [
        ("batch", Box::new(batch(&known))),
        ("mbs", Box::new(mbs(&known, 3))),
        ("harmony", Box::new(harmony_batch(&known))),
    ];
    for (name, controller) in controllers {
        let (usd, late, report) = run(controller);
        assert!(late <= 0.02, "{name}: {late}");
        assert!(usd < alone && report.mean_fill() > 1.3, "{name}: {usd} {alone}");
    }
}

#[test]
fn triton_waits_a_fixed_delay_and_keeps_the_objective() {
    let known = known();
    let chosen = triton(&known, &PlanSearch::new(&known), &[(1.0, ArrivalLaw::poisson(20.0))]);
    assert_eq!(chosen.plan.packing, PackingPolicy::Fifo);
    let (_, late, report) = run(Box::new(FixedPlan::new(chosen.plan)));
    assert!(late <= 0.012 && report.mean_fill() > 1.5, "{late} {}", report.mean_fill());
}

#[test]
fn kserve_waits_for_its_documented_five_seconds() {
    let plan = kserve(&known()).plan;
    assert_eq!((plan.max_batch_size, plan.max_queue_delay.as_secs()), (24, 5));
    let (_, late, _) = run(Box::new(FixedPlan::new(plan)));
    assert!(late > 0.5, "an objective of 0.2 s cannot be kept: {late}");
}

#[test]
fn provisioning_follows_the_load() {
    let known = known();
    let arrivals: Box<dyn ArrivalProcess> = Box::new(Mmpp2::new([4.0, 80.0], [200.0, 200.0]));
    let report = serve_from(&known, arrivals, Box::new(harmony_batch(&known)), 1500.0, ColdStarts::Paid);
    assert!(report.plans.len() >= 3, "{} plans", report.plans.len());
    let bounds: Vec<u32> = report.plans.iter().map(|(_, plan)| plan.max_batch_size).collect();
    assert!(bounds.iter().max() > bounds.iter().min(), "{bounds:?}");
}
