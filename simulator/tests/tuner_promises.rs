//! What an operator may rely on: bounds, holds, restarts, objectives.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and shows what it saw")]

mod support;

use gateway_contract::{Mebibytes, PackingPolicy, ServingPlan};
use optimizer_tuner::event::{Phase, TunerAction};
use optimizer_tuner::settings::Objective;
use optimizer_tuner::{Command, PolicyKind, Tuner};
use simulator::arrivals::{GammaWindows, Poisson};
use simulator::closed_loop::{LoopConfig, LoopReport, run, run_tuner};
use simulator::lambda::CreditModel;
use support::{credit, light, loop_config};

fn tuner(config: &LoopConfig) -> Tuner {
    Tuner::new(config.settings.clone(), config.base.clone(), config.economics.clone()).unwrap()
}

fn served(config: &LoopConfig, tuner: Tuner, rate: f64) -> (LoopReport, Tuner) {
    run_tuner(config, tuner, Box::new(Poisson::new(rate)), credit(light()), None).unwrap()
}

#[test]
fn no_plan_leaves_its_bounds_under_any_policy() {
    for policy in [PolicyKind::GreyBox, PolicyKind::BlackBox, PolicyKind::Grid, PolicyKind::Random] {
        for seed in 1..=3 {
            let mut config = loop_config(0.3, 900.0);
            config.settings.policy = policy;
            config.settings.seed = seed;
            config.seed = seed;
            config.settings.bounds.batch_size = (2, 24);
            config.settings.bounds.process_count = (1, 2);
            config.settings.bounds.memory_mib = [512, 1024, 2048, 5120].map(Mebibytes).to_vec();
            let arrivals = GammaWindows::new(25.0, 4.0, 5.0);
            let report = run(&config, Box::new(arrivals), credit(light())).unwrap();
            assert!(report.plans.len() > 1, "{policy:?} never chose");
            for (_, plan) in &report.plans[1..] {
                let is_base = plan.max_batch_size == config.base.max_batch_size;
                assert!(is_base || (2..=24).contains(&plan.max_batch_size), "{policy:?}: {plan:?}");
                let places = plan.rungs.iter().chain(plan.canary.iter().map(|canary| &canary.rung));
                for rung in places {
                    // 5,120 MiB is above what the account allows.
                    assert!([512, 1024, 1769, 2048].contains(&rung.memory_mib.0), "{policy:?}: {rung:?}");
                    assert!((1..=2).contains(&rung.process_count));
                }
                assert_eq!(plan.queue_capacity_items, config.base.queue_capacity_items);
            }
            let ascends = report.plans.windows(2).all(|pair| pair[0].1.revision < pair[1].1.revision);
            assert!(ascends, "revisions ascend");
        }
    }
}

#[test]
fn equal_seeds_give_equal_logs() {
    let config = loop_config(0.3, 300.0);
    let log = || format!("{:?}", run(&config, Box::new(Poisson::new(30.0)), credit(light())).unwrap().events);
    assert_eq!(log(), log());
}

#[test]
fn what_was_learned_survives_a_restart_without_another_trial() {
    let config = loop_config(0.3, 600.0);
    let (first, known) = served(&config, tuner(&config), 20.0);
    assert!(first.last.trials > 0);
    let text = serde_json::to_string(&known.save()).unwrap();
    let mut again = tuner(&config);
    again.restore(serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.plan().rungs, known.plan().rungs, "the last plan serves at once");
    let (second, _) = served(&config, again, 20.0);
    assert_eq!(second.last.trials, 0, "{:?}", second.events);
    let (usd, _) = second.between(60.0, 600.0);
    let (usd_before, _) = first.between(300.0, 600.0);
    assert!(usd < 1.05 * usd_before, "{usd} {usd_before}");
}

#[test]
fn broken_state_is_refused_whole() {
    let config = loop_config(0.3, 120.0);
    let (_, known) = served(&config, tuner(&config), 20.0);
    let mut state = serde_json::to_value(known.save()).unwrap();
    state["knowledge"]["cells"][0][1]["weight"] = serde_json::json!(-3.0);
    let mut fresh = tuner(&config);
    assert!(fresh.restore(serde_json::from_value(state).unwrap()).is_err());
    assert_eq!(fresh.phase(), Phase::Learning);
    let mut state = serde_json::to_value(known.save()).unwrap();
    state["version"] = serde_json::json!(99);
    assert!(fresh.restore(serde_json::from_value(state).unwrap()).is_err());
}

#[test]
fn a_watching_tuner_recommends_and_changes_nothing() {
    let mut config = loop_config(0.3, 300.0);
    config.settings.policy = PolicyKind::Observe;
    let (report, tuner) = served(&config, tuner(&config), 20.0);
    assert_eq!(report.plans.len(), 1);
    assert_eq!(tuner.plan(), &config.base);
    assert!(report.last.recommended.is_some());
    assert_eq!(report.last.trials, 0);
}

#[test]
fn a_pinned_plan_serves_until_it_is_released() {
    let config = loop_config(0.3, 200.0);
    let (_, mut held) = served(&config, tuner(&config), 20.0);
    let pinned = ServingPlan { packing: PackingPolicy::Fifo, max_batch_size: 3, ..config.base.clone() };
    held.handle_command(Command::Pin(Box::new(pinned)));
    let (report, mut held) = served(&config, held, 20.0);
    assert!(report.plans.iter().all(|(_, plan)| plan.max_batch_size == 3), "{:?}", report.plans);
    assert_eq!(held.phase(), Phase::Frozen);
    held.handle_command(Command::Resume);
    let (report, mut held) = served(&config, held, 20.0);
    assert_ne!(report.plans.last().unwrap().1.max_batch_size, 3);
    held.handle_command(Command::Forget);
    assert_eq!(held.phase(), Phase::Learning);
    assert!(held.report().points.is_empty());
}

#[test]
fn a_reload_keeps_what_was_learned() {
    let config = loop_config(0.3, 300.0);
    let (_, mut known) = served(&config, tuner(&config), 20.0);
    let points = known.report().points.len();
    let mut base = config.base.clone();
    base.queue_capacity_items = 77;
    known.handle_settings(config.settings.clone(), base, config.economics.clone()).unwrap();
    assert_eq!(known.report().points.len(), points);
    assert_eq!(known.plan().queue_capacity_items, 77, "the configuration's bounds hold at once");
    let mut broken = config.settings.clone();
    broken.slo_percentile = 2.0;
    let error = known.handle_settings(broken, config.base.clone(), config.economics.clone()).unwrap_err();
    assert_eq!(error.field, "slo_percentile");
}

#[test]
fn less_weight_on_cost_buys_latency() {
    let latency = |objective| {
        let mut config = loop_config(0.5, 400.0);
        config.settings.objective = objective;
        let report = run(&config, Box::new(Poisson::new(30.0)), credit(light())).unwrap();
        let incumbent = report.last.incumbent.unwrap().expected;
        (incumbent.latency_ms, incumbent.usd_per_million)
    };
    let (slow, cheap) = latency(Objective::Cost);
    let (fast, dear) = latency(Objective::Weighted { cost_weight: 0.2 });
    assert!(fast < 0.7 * slow && dear > cheap, "{slow} {cheap} {fast} {dear}");
    let (within, budget) = latency(Objective::Latency { max_usd_per_million: 1.5 * cheap });
    assert!(within < slow && budget <= 1.6 * cheap, "{within} {budget}");
}

#[test]
fn memory_that_runs_out_is_never_used_again() {
    let mut config = loop_config(0.3, 600.0);
    config.settings.bounds.memory_mib = [256, 512, 1024, 1769].map(Mebibytes).to_vec();
    // 250 MiB in use: 256 leaves no headroom. So little work that it would be the cheapest.
    let model = CreditModel { item_seconds: 0.000_2, process_seconds: 0.001, ..light() };
    let report = run(&config, Box::new(Poisson::new(10.0)), credit(model)).unwrap();
    let small = |plan: &ServingPlan| {
        let places = plan.rungs.iter().chain(plan.canary.iter().map(|canary| &canary.rung));
        places.into_iter().any(|rung| rung.memory_mib == Mebibytes(256))
    };
    assert!(!report.plans.iter().any(|(_, plan)| small(plan)));
}

#[test]
fn every_switch_names_its_reason_and_numbers() {
    let config = loop_config(0.3, 600.0);
    let report = run(&config, Box::new(Poisson::new(20.0)), credit(light())).unwrap();
    let mut switches = 0;
    for event in &report.events {
        if let TunerAction::Switched { chosen, .. } = &event.what {
            switches += 1;
            let expected = chosen.expected;
            assert!(expected.usd_per_million > 0.0 && expected.latency_ms > 0.0 && expected.mean_fill >= 1.0);
        }
    }
    assert!(switches > 0);
    assert!(serde_json::to_string(&report.events).unwrap().contains("\"action\":\"switched\""));
}
