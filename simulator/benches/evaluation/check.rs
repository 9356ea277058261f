//! Whether the oracle is a bound: every plan that is nearly best by the formula, run through the engine on a few cells.

use std::time::Duration;

use gateway_contract::PackingPolicy;
use serde_json::{Value, json};
use simulator::bounds::{PlanSearch, SearchLimits, minute_arrivals};
use simulator::deployment::{ColdStarts, FixedPlan, Records};

use crate::Arguments;
use crate::cells::{Coverage, choose};
use crate::policies::{self, MINUTE_S, representatives};
use crate::traces;
use crate::world::{PERCENTILE, World};

/// Plans that are tried on each cell.
const TRIED: usize = 80;
const SEED: u64 = 1;

/// Prints the best of them beside the oracle.
pub fn run(arguments: &Arguments) -> Value {
    let traces = traces::load(arguments.traces.as_ref());
    let mut worst = 0.0_f64;
    let mut rows = Vec::new();
    let cells = choose(&traces, Coverage::Quick);
    for cell in cells.into_iter().filter(|cell| cell.rate <= arguments.max_rate) {
        let world = World::new(&cell);
        let first = Box::new(FixedPlan::new(world.known.base.clone()));
        let (_, report) = world.run(first, SEED, ColdStarts::Free, Records::Every);
        let seen = report.window_stats();
        let found = policies::find(&world, SEED, &seen);
        let minutes = minute_arrivals(&seen, Duration::from_secs_f64(MINUTE_S));
        let laws = representatives(&minutes);
        let search = PlanSearch::new(&world.known);
        let limits = SearchLimits {
            packing: PackingPolicy::Deadline,
            per_batch_rungs: true,
            max_process_count: u32::MAX,
            // Wider than the objective: the formula may be wrong by as much.
            allowed_late: 0.03,
            plans: TRIED,
            max_latency_laws: 5000,
        };
        let free = |controller| world.run(controller, SEED, ColdStarts::Free, Records::None).0;
        let tried = search.run(&laws, &limits);
        let outcomes = tried.iter().map(|scored| free(Box::new(FixedPlan::new(scored.plan.clone()))));
        let best = outcomes
            .filter(|outcome| outcome.late_share <= 1.0 - PERCENTILE)
            .map(|outcome| outcome.usd_per_million)
            .fold(f64::INFINITY, f64::min);
        let oracle = policies::oracle(&world, SEED, &found).usd_per_million;
        worst = worst.max(oracle / best - 1.0);
        println!(
            "{:<52} oracle {oracle:.4}, best of {} nearly best plans {best:.4}: {:+.2} %",
            cell.name(),
            tried.len(),
            (oracle / best - 1.0) * 100.0
        );
        rows.push(json!({ "cell": cell.json(), "oracle": oracle, "best": best, "tried": tried.len() }));
    }
    println!("the oracle is beaten by at most {:.2} %", worst * 100.0);
    json!({ "oracle_beaten_by": worst, "cells": rows })
}
