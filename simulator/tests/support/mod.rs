//! A credit model behind the loop's trait, and a loop with round numbers.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test file uses its own part"
)]

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{
    Architecture, Mebibytes, ModelId, PackingPolicy, PlanRevision, PriceTable, RetryLimits, Rung,
    ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::formula::LogNormal;
use optimizer_tuner::{Economics, TunerSettings};
use simulator::closed_loop::{LoopConfig, LoopReport};
use simulator::lambda::{BatchShape, CreditModel, FunctionModel};

/// A model that spreads by 8 %, in a sandbox of 220 MiB and 30 more for each process.
pub struct Credit {
    model: CreditModel,
}

pub fn credit(model: CreditModel) -> Arc<dyn FunctionModel> {
    Arc::new(Credit { model })
}

/// MiniLM-like at short texts: 4 ms a batch, 12 ms an item.
pub fn light() -> CreditModel {
    CreditModel { fixed_seconds: 0.001, process_seconds: 0.003, item_seconds: 0.012, is_quantised: true }
}

impl FunctionModel for Credit {
    fn law(&self, memory: Mebibytes, batch: &BatchShape) -> LogNormal {
        let seconds = self.model.seconds(batch.items, memory, batch.process_count);
        LogNormal { ln_mean: seconds.ln(), ln_std: 0.08 }
    }

    fn init_seconds(&self, _memory: Mebibytes) -> f64 {
        0.4
    }

    fn memory_used(&self, process_count: u32) -> Mebibytes {
        Mebibytes(220 + 30 * process_count)
    }

    fn units(&self, _class: u16) -> u64 {
        1
    }
}

/// Deadline packing from a plan at 1769 MiB that knows nothing: 100 ms for anything.
pub fn loop_config(slo_s: f64, seconds: f64) -> LoopConfig {
    let ms = Duration::from_millis;
    let base = ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing: PackingPolicy::Deadline,
        max_batch_size: 32,
        max_queue_delay: ms(20),
        max_in_flight: 100,
        queue_capacity_items: 10_000,
        queue_capacity_bytes: 1 << 28,
        max_request_payload_bytes: 6_000_000,
        max_response_payload_bytes: 6_000_000,
        slo_latency: Duration::from_secs_f64(slo_s),
        deadline_margin: ms(10),
        service_time_upper: ServiceTimeTable::new(vec![(1, ms(100))]).unwrap(),
        rungs: vec![Rung {
            max_items: 32,
            qualifier: "mem-1769".to_owned(),
            memory_mib: Mebibytes(1769),
            process_count: 1,
        }],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits::default(),
    };
    let economics = Economics {
        prices: PriceTable::default(),
        architecture: Architecture::X86_64,
        month_gb_seconds: 0.0,
    };
    LoopConfig {
        settings: TunerSettings::default(),
        base,
        true_economics: economics.clone(),
        economics,
        seconds,
        network_s: 0.004,
        runtime_s: 0.001,
        items_pmf: vec![1.0],
        faults: Vec::new(),
        seed: 7,
    }
}

/// Shows what the tuner did.
pub fn print_events(report: &LoopReport) {
    for event in &report.events {
        println!("{:8.1} {:?}", event.at.as_nanos() as f64 / 1e9, event.what);
    }
    for from in (0..report.windows.len()).step_by(60) {
        let (usd, late) = report.between(from as f64, from as f64 + 60.0);
        println!("{from:6} s: {usd:8.3} USD per million, {late:.4} late");
    }
}
