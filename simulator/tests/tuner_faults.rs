//! Broken on purpose: what the tuner does, from its event log (`--nocapture` shows it).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and shows what it saw")]

mod support;

use gateway_contract::Mebibytes;
use optimizer_tuner::event::{TrialVerdict, TunerAction};
use simulator::arrivals::Poisson;
use simulator::closed_loop::{LoopConfig, LoopReport, run};
use simulator::deployment::{Fault, FaultKind};
use simulator::lambda::ThrottleReason;
use support::{credit, light, loop_config, print_events};

const RATE: f64 = 20.0;

fn broken(
    title: &str,
    kind: FaultKind,
    from_s: f64,
    to_s: f64,
    change: impl Fn(&mut LoopConfig),
) -> LoopReport {
    let mut config = loop_config(0.3, to_s + 900.0);
    config.faults = vec![Fault::new(from_s, to_s, kind)];
    change(&mut config);
    let report = run(&config, Box::new(Poisson::new(RATE)), credit(light())).unwrap();
    println!("\n== {title}");
    print_events(&report);
    report
}

fn count(report: &LoopReport, from_s: f64, to_s: f64, of: impl Fn(&TunerAction) -> bool) -> usize {
    let within = |at: f64| at >= from_s && at < to_s;
    report.events.iter().filter(|event| within(event.at.as_nanos() as f64 / 1e9) && of(&event.what)).count()
}

#[test]
fn service_times_double_for_an_hour() {
    let report = broken("service times double for an hour", FaultKind::Slow(2.0), 600.0, 4200.0, |_| {});
    let (before, _) = report.between(300.0, 600.0);
    let (during, late) = report.between(900.0, 4200.0);
    let (after, late_after) = report.between(4500.0, 5100.0);
    assert!(during > 1.5 * before && late < 0.02, "{before} {during} {late}");
    assert!(after < 1.1 * before && late_after < 0.02, "{before} {after} {late_after}");
    let switches = count(&report, 600.0, 4200.0, |it| matches!(it, TunerAction::Switched { .. }));
    assert!(switches <= 12, "it does not flap: {switches}");
}

#[test]
fn a_bad_operating_point_is_left() {
    let at = Mebibytes(3008);
    let report = broken("3008 MiB is ten times slower", FaultKind::SlowAt(at, 10.0), 0.0, 1200.0, |_| {});
    let last = report.plans.iter().rfind(|(at_s, _)| *at_s < 1200.0).unwrap();
    assert!(last.1.rungs.iter().all(|rung| rung.memory_mib != at), "{last:?}");
    let (_, late) = report.between(120.0, 1200.0);
    assert!(late < 0.02, "{late}");
    let vetoed = count(&report, 0.0, 1200.0, |it| {
        matches!(it, TunerAction::TrialEnded { verdict: TrialVerdict::Vetoed | TrialVerdict::Measured, .. })
    });
    assert!(vetoed >= 1, "it was tried on a canary, not on everybody");
}

#[test]
fn reports_are_missing() {
    let report = broken("no REPORT line comes", FaultKind::NoReport, 0.0, 900.0, |_| {});
    let (usd, late) = report.between(300.0, 900.0);
    let (usd_after, _) = report.between(1200.0, 1800.0);
    // The worker's own times are enough to learn from; only the bill is an estimate, and says so.
    assert!(late < 0.02 && (usd / usd_after - 1.0).abs() < 0.1, "{usd} {usd_after} {late}");
    assert!(report.windows[600].stats.estimated_cost_usd > 0.99 * report.windows[600].stats.cost_usd);
}

#[test]
fn the_price_table_is_wrong() {
    let report = broken(
        "duration is five times dearer than the table says",
        FaultKind::Slow(1.0),
        0.0,
        900.0,
        |config| {
            for tier in &mut config.true_economics.prices.x86_64.tiers {
                tier.usd_per_gb_second *= 5.0;
            }
        },
    );
    let incumbent = report.last.incumbent.as_ref().unwrap().expected.usd_per_million;
    let realised = report.last.realised.usd_per_million;
    // Nothing can tell prices from bills that are computed with them: the realised figure is what shows it.
    assert!(realised > 2.0 * incumbent, "{incumbent} {realised}");
    assert!(report.between(300.0, 1800.0).1 < 0.02);
}

#[test]
fn everything_is_throttled_for_a_while() {
    let throttled = FaultKind::Throttled(ThrottleReason::ConcurrentInvocationLimitExceeded);
    let report = broken("all of Lambda is throttled", throttled, 600.0, 780.0, |_| {});
    let trials = count(&report, 660.0, 780.0, |it| matches!(it, TunerAction::TrialStarted { .. }));
    assert_eq!(trials, 0, "nothing is explored on no data");
    let blind = count(&report, 600.0, 780.0, |it| matches!(it, TunerAction::Blind { .. }));
    assert_eq!(blind, 1);
    let (_, late) = report.between(960.0, 1680.0);
    assert!(late < 0.02, "{late}");
}
