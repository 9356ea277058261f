//! The production tuner in the loop: it finds the cheap plan, keeps the objective, and follows the load.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and shows what it saw")]

mod support;

use std::sync::Arc;

use gateway_contract::Mebibytes;
use optimizer_tuner::event::{SwitchReason, TunerAction};
use optimizer_tuner::formula::LogNormal;
use simulator::arrivals::{Counts, Poisson};
use simulator::closed_loop::run;
use simulator::lambda::{BatchShape, FunctionModel};
use support::{credit, light, loop_config, print_events};

#[test]
fn a_fresh_start_ends_far_below_the_configured_plan() {
    let config = loop_config(0.3, 900.0);
    let report = run(&config, Box::new(Poisson::new(20.0)), credit(light())).unwrap();
    print_events(&report);
    let (first, _) = report.between(0.0, 20.0);
    let (last, late) = report.between(600.0, 900.0);
    println!("{first} -> {last} USD per million, late {late}");
    assert!(last < 0.75 * first, "{first} {last}");
    assert!(late < 0.01, "{late}");
}

#[test]
fn a_step_is_answered_without_trials() {
    let mut counts = vec![5; 600];
    counts.extend(vec![60; 300]);
    let config = loop_config(0.3, 900.0);
    let report = run(&config, Box::new(Counts::new(counts, 1.0)), credit(light())).unwrap();
    print_events(&report);
    let at = |action: &TunerAction| {
        matches!(action, TunerAction::Switched { reason: SwitchReason::ChangePoint, .. })
    };
    let switch = report.events.iter().find(|event| at(&event.what));
    assert!(report.events.iter().any(|event| matches!(event.what, TunerAction::ChangePoint { .. })));
    println!("{switch:?}");
    let (_, late) = report.between(600.0, 900.0);
    assert!(late < 0.02, "{late}");
}

#[test]
fn a_memory_floor_makes_processes_win() {
    let mut config = loop_config(1.0, 1800.0);
    config.settings.bounds.memory_mib = vec![Mebibytes(3072), Mebibytes(4096)];
    config.settings.account.memory_ceiling = Mebibytes(10_240);
    config.base.rungs[0].memory_mib = Mebibytes(3072);
    config.base.rungs[0].qualifier = "mem-3072".to_owned();
    let mut model = light();
    model.item_seconds = 0.05;
    let report = run(&config, Box::new(Poisson::new(10.0)), credit(model)).unwrap();
    print_events(&report);
    let (_, plan) = report.plans.last().unwrap();
    assert!(plan.rungs.last().unwrap().process_count >= 2, "{plan:?}");
}

/// As measured on cgroup quotas: a scheduler that notices late, by 4 ms, that a quota is used up. Below one vCPU short batches end sooner than the periods say.
struct Lenient;

impl FunctionModel for Lenient {
    fn law(&self, memory: Mebibytes, batch: &BatchShape) -> LogNormal {
        let (work_s, period_s, late_s) = (0.0022 + 0.0036 * f64::from(batch.items), 0.020, 0.004);
        let quota_s = period_s * memory.vcpus().min(1.0);
        let waits = ((work_s - late_s) / quota_s).ceil().max(1.0) - 1.0;
        let seconds = if quota_s < period_s { waits * period_s + work_s - waits * quota_s } else { work_s };
        LogNormal { ln_mean: seconds.max(work_s).ln(), ln_std: 0.1 }
    }

    fn init_seconds(&self, _memory: Mebibytes) -> f64 {
        0.5
    }

    fn memory_used(&self, _process_count: u32) -> Mebibytes {
        Mebibytes(150)
    }

    fn units(&self, _class: u16) -> u64 {
        1
    }
}

#[test]
fn a_cheap_size_that_the_law_of_the_quota_underrates_is_found() {
    for seed in 1..=5 {
        let mut config = loop_config(0.2, 900.0);
        config.settings.bounds.memory_mib = [256, 512, 1024, 1769, 3008].map(Mebibytes).to_vec();
        config.settings.bounds.process_count = (1, 2);
        (config.settings.seed, config.seed) = (seed, seed);
        let report = run(&config, Box::new(Poisson::new(20.0)), Arc::new(Lenient)).unwrap();
        let (_, plan) = report.plans.last().unwrap();
        let (usd, late) = report.between(600.0, 900.0);
        println!(
            "seed {seed}: {usd:.4} USD per million, {late:.4} late, {} trials, {:?}",
            report.last.trials, plan.rungs
        );
        assert!(plan.rungs.iter().any(|rung| rung.memory_mib.0 <= 512), "{:?}", plan.rungs);
        assert!(late < 0.01 && report.last.trials <= 8, "{late}, {} trials", report.last.trials);
    }
}
