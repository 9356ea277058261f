//! One policy over many seeds.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_contract::ServingPlan;
use optimizer_tuner::event::TunerAction;
use optimizer_tuner::{PolicyKind, TunerEvent};
use simulator::arrivals::Poisson;
use simulator::closed_loop::run as run_loop;

use crate::best::{ALLOWED_LATE, Best, loop_config, settings, start, true_cost};
use crate::models::Model;

/// Seconds of one run: enough for all trials of the searches. The grid stops at its end.
const SECONDS: f64 = 1200.0;
const GRID_SECONDS: f64 = 6000.0;
/// Within so much of the best.
const NEAR: f64 = 1.05;
/// A fixed run of some 10,000 requests leaves so much doubt about a share of 1 %.
const LATE_TOLERANCE: f64 = 1.25;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub trials_to_5pct: Option<f64>,
    pub trials: f64,
    pub late_share: f64,
    pub final_over_best: f64,
    pub exploration_usd: f64,
}

pub fn run(model: &Model, best: &Best, kind: PolicyKind, seeds: u64, shows_events: bool) -> Vec<Outcome> {
    let known = Mutex::new(BTreeMap::new());
    let next = AtomicU64::new(1);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let (outcome, events) = one(model, best, kind, seed, &known);
                    if shows_events {
                        println!("seed {seed}: {outcome:?}\n{events}");
                    }
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

type Known = Mutex<BTreeMap<String, (f64, f64)>>;

fn one(model: &Model, best: &Best, kind: PolicyKind, seed: u64, known: &Known) -> (Outcome, String) {
    let seconds = if kind == PolicyKind::Grid { GRID_SECONDS } else { SECONDS };
    let config = loop_config(settings(model, kind, seed), start(model), seconds, seed);
    let report = run_loop(&config, Box::new(Poisson::new(model.rate)), model.replay.clone()).unwrap();
    let cost = |plan: &ServingPlan| {
        let signature = format!(
            "{:?}{:?}{:?}{:?}",
            plan.max_batch_size, plan.max_queue_delay, plan.rungs, plan.service_time_upper
        );
        let cached = known.lock().unwrap().get(&signature).copied();
        cached.unwrap_or_else(|| {
            let found = true_cost(model, plan);
            known.lock().unwrap().insert(signature, found);
            found
        })
    };
    let is_near = |plan: &ServingPlan| {
        let (usd, late) = cost(plan);
        usd <= NEAR * best.usd_per_million && late <= LATE_TOLERANCE * ALLOWED_LATE
    };
    let reached = report.plans.iter().skip(1).find(|(_, plan)| is_near(plan));
    let trials_to_5pct = reached.map(|(at_s, _)| trials_before(&report.events, *at_s, kind));
    let last = report.plans.last().map(|(_, plan)| cost(plan).0).unwrap_or(f64::NAN);
    let (_, late_share) = report.between(0.0, seconds);
    let outcome = Outcome {
        trials_to_5pct,
        trials: report.last.trials as f64,
        late_share,
        final_over_best: last / best.usd_per_million,
        exploration_usd: report.last.exploration_usd,
    };
    let mut log = String::new();
    for event in &report.events {
        log += &format!("{:8.1} {:?}\n", event.at.as_nanos() as f64 / 1e9, event.what);
    }
    for (at_s, plan) in &report.plans {
        log += &format!("{at_s:8.1} revision {} costs {:.4?}\n", plan.revision, cost(plan));
    }
    for minute in 0..(seconds / 60.0) as u32 {
        let from = f64::from(minute) * 60.0;
        log += &format!("{from:8.0} {:.4?}\n", report.between(from, from + 60.0));
    }
    (outcome, log)
}

/// Trials begun up to then.
fn trials_before(events: &[TunerEvent], at_s: f64, _kind: PolicyKind) -> f64 {
    let started = |event: &&TunerEvent| {
        matches!(event.what, TunerAction::TrialStarted { .. }) && event.at.as_nanos() as f64 / 1e9 <= at_s
    };
    events.iter().filter(started).count() as f64
}
