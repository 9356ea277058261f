//! "What the arithmetic says", measured with the real planes: ratios to the oracle and the floor at four loads, memory forced above one vCPU, and
//! a step of ten.
//!
//! The models are those of the arithmetic: 6 ms that no memory shortens, w0 of 1 ms a process, a credit that flows evenly. `quantised` is the same with
//! the credit in periods of 20 ms, as Lambda hands it out.

use std::sync::Arc;

use gateway_contract::{Mebibytes, WindowStats};
use serde_json::{Value, json};
use simulator::arrivals::Trace;
use simulator::bounds::physical_floor_usd;
use simulator::controllers::best_unbatched;
use simulator::deployment::{ColdStarts, FixedPlan, Records, Scheduled};
use simulator::profile::{InitLaw, MemoryNeed, ModelProfile, ServiceWork};

use crate::Arguments;
use crate::cells::Cell;
use crate::policies::{self, MINUTE_S, Plans};
use crate::traces::{self, Load, SECONDS};
use crate::world::World;

const SEED: u64 = 1;
const RATES: [f64; 4] = [3.0, 19.0, 64.0, 319.0];
/// Name, seconds of work an item, objective in seconds.
const MODELS: [(&str, f64, f64); 3] =
    [("bert-like", 0.05, 0.5), ("minilm, 45 tokens", 0.012, 0.2), ("scikit-learn", 0.000_4, 0.1)];

fn profile(item_seconds: f64, is_quantised: bool, memory: MemoryNeed) -> Arc<ModelProfile> {
    Arc::new(ModelProfile {
        name: "arithmetic".to_owned(),
        service: ServiceWork {
            fixed_seconds: 0.006,
            process_seconds: 0.001,
            item_seconds,
            coefficient_of_variation: 0.05,
            is_quantised,
            ..ServiceWork::default()
        },
        init: InitLaw { cpu_seconds: 0.4, floor_seconds: 0.1 },
        memory,
        ..ModelProfile::default()
    })
}

const SMALL: MemoryNeed = MemoryNeed { base_mib: 150.0, per_process_mib: 30.0 };

/// Prints everything.
pub fn run(arguments: &Arguments) -> Value {
    let traces = traces::load(arguments.traces.as_ref());
    let mut rows = Vec::new();
    for is_quantised in [false, true] {
        println!(
            "\ncredit {}\n{:<20} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}",
            if is_quantised { "in periods of 20 ms" } else { "that flows evenly" },
            "model",
            "req/s",
            "/ floor",
            "fixed",
            "1 process",
            "unb. best",
            "unb. 3008"
        );
        for (model, item_seconds, slo_s) in MODELS {
            for rate in RATES {
                let cell = Cell { trace: traces[0].clone(), rate, model, slo_s, is_tight: false };
                let row = ratios(&world(&cell, profile(item_seconds, is_quantised, SMALL)));
                println!(
                    "{model:<20} {rate:>5} {:>9.3} {:>9.3} {:>9.3} {:>9.2} {:>9.2}",
                    row[0], row[1], row[2], row[3], row[4]
                );
                rows.push(json!({
                    "model": model, "requests_per_second": rate, "is_quantised": is_quantised,
                    "oracle_over_floor": row[0], "best_fixed_over_oracle": row[1],
                    "one_process_over_oracle": row[2], "unbatched_best_over_oracle": row[3],
                    "unbatched_3008_over_oracle": row[4],
                }));
            }
        }
    }
    let forced = forced_memory(&traces[0]);
    let step = step_of_ten();
    json!({ "ratios": rows, "forced_memory": forced, "step_of_ten": step })
}

/// Two hours, or less at high rates: as many requests as two hours at 20 a second, and at least a quarter of an hour.
fn world(cell: &Cell, function: Arc<ModelProfile>) -> World {
    let mut world = World::of(cell, function);
    world.candidates = 10;
    world.seconds = (SECONDS * (20.0 / cell.rate).min(1.0) / MINUTE_S).round().max(15.0) * MINUTE_S;
    world
}

/// Everything without cold starts: oracle / floor, then best fixed, one process, unbatched at its best and at 3008 over the oracle.
fn ratios(world: &World) -> [f64; 5] {
    let (oracle, plans) = oracle(world);
    let free = |plan| world.run(Box::new(FixedPlan::new(plan)), SEED, ColdStarts::Free, Records::None).0;
    let usd = |plan| free(plan).usd_per_million;
    let mut single = World::of(&world.cell, Arc::clone(&world.known.function));
    single.known.max_process_count = 1;
    (single.seconds, single.candidates) = (world.seconds, world.candidates);
    [
        oracle / (physical_floor_usd(&world.known) * 1e6),
        usd(plans.fixed) / oracle,
        self::oracle(&single).0 / oracle,
        usd(best_unbatched(&world.known).plan) / oracle,
        usd(world.known.unbatched(Mebibytes(3008))) / oracle,
    ]
}

fn oracle(world: &World) -> (f64, Plans) {
    let first = Box::new(FixedPlan::new(world.known.base.clone()));
    let (_, report) = world.run(first, SEED, ColdStarts::Free, Records::Every);
    let plans = policies::find(world, SEED, &report.window_stats());
    (policies::oracle(world, SEED, &plans).usd_per_million, plans)
}

/// 80 ms an item in 3 GB, 0.6 s: weights shared, a copy a process, one process, unbatched.
fn forced_memory(trace: &Load) -> Value {
    println!(
        "\n3 GB, 80 ms an item, 0.6 s: dollars per million\n{:>5} {:>8} {:>8} {:>8} {:>9} {:>8}",
        "req/s", "shared", "copies", "1 proc.", "unbatched", "floor"
    );
    let mut rows = Vec::new();
    for rate in RATES {
        let cell = Cell { trace: trace.clone(), rate, model: "large", slo_s: 0.6, is_tight: false };
        let with = |per_process_mib: f64, processes: u32| {
            let need = MemoryNeed { base_mib: 2980.0 - per_process_mib, per_process_mib };
            let mut world = world(&cell, profile(0.08, true, need));
            world.known.max_process_count = processes;
            world
        };
        let shared = with(60.0, 6);
        let unbatched = Box::new(FixedPlan::new(best_unbatched(&shared.known).plan));
        let usd = [
            oracle(&shared).0,
            oracle(&with(2700.0, 6)).0,
            oracle(&with(60.0, 1)).0,
            shared.run(unbatched, SEED, ColdStarts::Free, Records::None).0.usd_per_million,
            physical_floor_usd(&shared.known) * 1e6,
        ];
        println!("{rate:>5} {:>8.2} {:>8.2} {:>8.2} {:>9.2} {:>8.2}", usd[0], usd[1], usd[2], usd[3], usd[4]);
        rows.push(json!({
            "requests_per_second": rate, "shared_weights": usd[0], "copy_per_process": usd[1],
            "one_process": usd[2], "unbatched": usd[3], "floor": usd[4],
        }));
    }
    Value::Array(rows)
}

/// From 6 to 60 requests a second after an hour: late answers after the step and dollars of INIT, with environments warmed beforehand and not.
fn step_of_ten() -> Value {
    let rates: Vec<f64> = (0..120).map(|minute| if minute < 60 { 1.0 } else { 10.0 }).collect();
    let trace = Load { name: "step".to_owned(), trace: Trace::from_rates(rates, 60.0).unwrap() };
    let cell = Cell { trace, rate: 33.0, model: "bert-like", slo_s: 0.5, is_tight: false };
    let world = World::of(&cell, profile(0.05, true, SMALL));
    let plan = oracle(&world).1.fixed;
    let warm: Vec<(Mebibytes, u32)> = plan.rungs.iter().map(|rung| (rung.memory_mib, 12)).collect();
    println!(
        "\nstep from 6 to 60 req/s, bert-like, 0.5 s: late of the first 10 s, of the first minute, INIT of all dollars"
    );
    let late = |windows: &[WindowStats], seconds: usize| {
        let after = &windows[3600..3600 + seconds];
        let sum = |of: fn(&WindowStats) -> u64| after.iter().map(of).sum::<u64>() as f64;
        1.0 - sum(|it| it.within_slo) / sum(|it| it.answered + it.failed + it.shed)
    };
    let mut rows = Vec::new();
    for is_warmed in [false, true] {
        let later = is_warmed.then(|| (3590.0, plan.clone(), warm.clone()));
        let controller = Box::new(Scheduled::warmed(plan.clone(), later));
        let (_, report) = world.run(controller, SEED, ColdStarts::Paid, Records::Every);
        let seen = report.window_stats();
        let init = (report.usd.init + report.usd.warm_up) / report.usd.total();
        let row = (late(&seen, 10), late(&seen, 60), init);
        println!(
            "  {:<12} {:>6.1} % {:>6.1} % {:>7.3} %",
            if is_warmed { "warmed" } else { "not warmed" },
            row.0 * 100.0,
            row.1 * 100.0,
            row.2 * 100.0
        );
        rows.push(
            json!({ "is_warmed": is_warmed, "late_10_s": row.0, "late_60_s": row.1, "init_share": row.2 }),
        );
    }
    Value::Array(rows)
}
