//! The production tuner in the loop: it finds the cheap plan, keeps the objective, and follows the load.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and shows what it saw")]

mod support;

use gateway_contract::Mebibytes;
use optimizer_tuner::event::{SwitchReason, TunerAction};
use simulator::arrivals::{Counts, Poisson};
use simulator::closed_loop::run;
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
