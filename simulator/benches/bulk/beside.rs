//! Live traffic on an account of 100 places, alone, with a job at full tilt that nobody holds back, and with one behind the production share.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{
    Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceTimeTable, ServingPlan,
};
use serde_json::{Value, json};
use simulator::arrivals::Mmpp2;
use simulator::bulk::beside::{Beside, BesideReport, Gate, run, share_settings};
use simulator::bulk::job::Cut;
use simulator::deployment::Account;
use simulator::lambda::LimitSettings;
use simulator::profile::{ModelProfile, example};

/// Runs beside each gate.
const SEEDS: u64 = 3;
const CONCURRENCY: u32 = 100;
const SECONDS: f64 = 900.0;
const BULK_FROM_S: f64 = 300.0;
const CHUNK_ITEMS: u32 = 100;
/// Of a chunk, as the profile has it.
const CHUNK_S: f64 = 4.2;
const SLO: Duration = Duration::from_millis(300);

fn plan() -> ServingPlan {
    let ms = Duration::from_millis;
    ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing: PackingPolicy::Deadline,
        max_batch_size: 8,
        max_queue_delay: ms(30),
        max_in_flight: CONCURRENCY,
        queue_capacity_items: 10_000,
        queue_capacity_bytes: 1 << 28,
        max_request_payload_bytes: 6_000_000,
        max_response_payload_bytes: 6_000_000,
        slo_latency: SLO,
        deadline_margin: ms(10),
        service_time_upper: ServiceTimeTable::new(vec![(1, ms(40)), (8, ms(120))]).unwrap(),
        rungs: vec![Rung {
            max_items: 8,
            qualifier: "mem-1769".to_owned(),
            memory_mib: Mebibytes(1769),
            process_count: 1,
        }],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits::default(),
    }
}

fn config(gate: Gate, seed: u64) -> Beside {
    let bulk = ModelProfile::from_toml(include_str!("../../profiles/imdb-minilm.toml")).unwrap();
    let limits = LimitSettings { concurrency: CONCURRENCY, ..LimitSettings::default() };
    Beside {
        arrivals: Box::new(Mmpp2::new([300.0, 900.0], [40.0, 10.0])),
        seconds: SECONDS,
        live: Arc::new(example("minilm-16").unwrap()),
        plan: plan(),
        bulk: Arc::new(bulk),
        chunks: u64::MAX,
        cut: Cut {
            chunk_items: CHUNK_ITEMS,
            process_count: 1,
            memory: Mebibytes(1769),
            parallelism: u32::MAX,
        },
        bulk_from_s: BULK_FROM_S,
        gate,
        account: Account { limits, ..Account::default() },
        seed,
    }
}

pub(crate) fn measure() -> Value {
    let shared = Gate::Shared(share_settings(CONCURRENCY, CHUNK_S));
    println!(
        "\nlive (300 and 900 requests/s by turns) beside a job, {CONCURRENCY} places, {:.0} s of it, SLO {} ms, {SEEDS} seeds",
        SECONDS - BULK_FROM_S,
        SLO.as_millis()
    );
    println!(
        "{:<16} {:>8} {:>8} {:>9} {:>10} {:>10} {:>10} {:>12}",
        "job", "p50 ms", "p99 ms", "late", "throttled", "in flight", "items/s", "its 429s"
    );
    let mut all = serde_json::Map::new();
    for (name, gate) in [("none", Gate::NoJob), ("held by nobody", Gate::Open), ("behind the share", shared)]
    {
        let runs: Vec<BesideReport> = (1..=SEEDS).map(|seed| run(config(gate, seed))).collect();
        let mean = |of: &dyn Fn(&BesideReport) -> f64| runs.iter().map(of).sum::<f64>() / SEEDS as f64;
        let quantile = |probability: f64| mean(&|run| run.live.quantile(probability) * 1e3);
        let items_per_s =
            mean(&|run| run.chunks_done as f64 * f64::from(CHUNK_ITEMS) / (SECONDS - BULK_FROM_S));
        let late = mean(&BesideReport::late_share);
        let throttles = mean(&|run| run.live_throttles as f64);
        let in_flight = mean(&|run| run.mean_in_flight);
        println!(
            "{name:<16} {:>8.1} {:>8.1} {:>8.3}% {throttles:>10.1} {in_flight:>10.1} {items_per_s:>10.1} {:>12.1}",
            quantile(0.5),
            quantile(0.99),
            late * 100.0,
            mean(&|run| run.bulk_throttles as f64),
        );
        all.insert(
            name.replace(' ', "_"),
            json!({
                "p50_ms": quantile(0.5),
                "p99_ms": quantile(0.99),
                "late_share": late,
                "live_throttles": throttles,
                "bulk_in_flight": in_flight,
                "bulk_items_per_s": items_per_s,
            }),
        );
    }
    Value::Object(all)
}
