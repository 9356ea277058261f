//! What a fixed plan really costs, and the best of all measured places and batch bounds.

use std::time::Duration;

use gateway_contract::{Mebibytes, Rung, ServiceTimeTable, ServingPlan};
use optimizer_tuner::settings::{AccountLimits, SearchBounds};
use optimizer_tuner::{PolicyKind, TunerSettings};
use simulator::arrivals::Poisson;
use simulator::closed_loop::{LoopConfig, run};

use crate::models::Model;
use crate::support;

/// Seconds that a fixed plan is run for.
const FIXED_SECONDS: f64 = 900.0;
/// Share of requests that may be late.
pub const ALLOWED_LATE: f64 = 0.01;
/// Round trip beyond what is billed, and billed beyond the handler, seconds.
const NETWORK_S: f64 = 0.003;
const RUNTIME_S: f64 = 0.001;

/// The best fixed plan.
pub struct Best {
    pub usd_per_million: f64,
    pub label: String,
    pub plans: usize,
    pub feasible: usize,
}

/// The plan that knows nothing.
pub fn start(model: &Model) -> ServingPlan {
    let ms = Duration::from_millis;
    ServingPlan {
        deadline_margin: ms(5),
        service_time_upper: ServiceTimeTable::new(vec![(1, ms(50))]).unwrap(),
        rungs: vec![rung(32, model.start_mib, 1)],
        ..support::loop_config(model.slo_s, FIXED_SECONDS).base
    }
}

pub fn rung(max_items: u32, memory_mib: u32, process_count: u32) -> Rung {
    Rung {
        max_items,
        qualifier: format!("mem-{memory_mib}"),
        memory_mib: Mebibytes(memory_mib),
        process_count,
    }
}

pub fn settings(model: &Model, policy: PolicyKind, seed: u64) -> TunerSettings {
    let memory_mib = model.replay.memories();
    let processes = model.replay.places().map(|(_, processes)| processes).max().unwrap_or(1);
    TunerSettings {
        policy,
        seed,
        account: AccountLimits { memory_ceiling: Mebibytes(10_240), concurrency: 1000 },
        bounds: SearchBounds {
            memory_mib,
            process_count: (1, processes),
            batch_size: (1, *model.replay.fills().last().unwrap()),
            ..SearchBounds::default()
        },
        ..TunerSettings::default()
    }
}

pub fn loop_config(settings: TunerSettings, base: ServingPlan, seconds: f64, seed: u64) -> LoopConfig {
    let slo_s = base.slo_latency.as_secs_f64();
    LoopConfig {
        settings,
        base,
        network_s: NETWORK_S,
        runtime_s: RUNTIME_S,
        seed,
        ..support::loop_config(slo_s, seconds)
    }
}

/// Dollars per million and late share of a plan that does not change; the first minute, with its cold starts, is left out.
pub fn true_cost(model: &Model, plan: &ServingPlan) -> (f64, f64) {
    let pinned = settings(model, PolicyKind::Pinned, 1);
    let plan = ServingPlan { canary: None, ..plan.clone() };
    let config = loop_config(pinned, plan, FIXED_SECONDS, 99);
    let report = run(&config, Box::new(Poisson::new(model.rate)), model.replay.clone()).unwrap();
    report.between(60.0, FIXED_SECONDS)
}

/// Runs every measured place with every measured fill as the bound, closing at the measured 99th percentile and at the 90th.
pub fn search(model: &Model) -> Best {
    let mut best: Option<(f64, String)> = None;
    let (mut plans, mut feasible) = (0, 0);
    let fills = model.replay.fills();
    for (memory_mib, process_count) in model.replay.places() {
        for &bound in &fills {
            for quantile in [0.9, 0.99] {
                let plan = fixed(model, memory_mib, process_count, bound, quantile);
                let (usd, late) = true_cost(model, &plan);
                plans += 1;
                if late > ALLOWED_LATE {
                    continue;
                }
                feasible += 1;
                if best.as_ref().is_none_or(|(least, _)| usd < *least) {
                    best = Some((usd, format!("{memory_mib} MiB × {process_count}, up to {bound} items")));
                }
            }
        }
    }
    let (usd_per_million, label) = best.expect("no fixed plan keeps the objective");
    Best { usd_per_million, label, plans, feasible }
}

fn fixed(model: &Model, memory_mib: u32, process_count: u32, bound: u32, quantile: f64) -> ServingPlan {
    let mut most = Duration::ZERO;
    let points = model
        .replay
        .fills()
        .into_iter()
        .filter(|&items| items < bound)
        .chain([bound])
        .map(|items| {
            let seconds =
                model.replay.quantile(memory_mib, process_count, items, quantile) + NETWORK_S + RUNTIME_S;
            most = most.max(Duration::from_secs_f64(seconds));
            (items, most)
        })
        .collect();
    ServingPlan {
        max_batch_size: bound,
        max_queue_delay: Duration::from_secs_f64(model.slo_s),
        service_time_upper: ServiceTimeTable::new(points).unwrap(),
        rungs: vec![rung(bound, memory_mib, process_count)],
        ..start(model)
    }
}
