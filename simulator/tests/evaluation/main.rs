//! Bounds and baselines against the production engine.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod baselines;
mod bounds;

use std::sync::Arc;

use gateway_contract::Mebibytes;
use simulator::arrivals::{ArrivalProcess, Poisson};
use simulator::bounds::Known;
use simulator::deployment::{
    Account, ColdStarts, Controller, DeploymentConfig, ModelConfig, ModelReport, Unobserved, run,
};
use simulator::profile::{InitLaw, MemoryNeed, ModelProfile, ServiceWork};

/// 12 ms an item, 0.2 s.
pub fn known() -> Known {
    let account = Account::default();
    Known {
        function: Arc::new(ModelProfile {
            name: "light".to_owned(),
            service: ServiceWork {
                fixed_seconds: 0.001,
                process_seconds: 0.003,
                item_seconds: 0.012,
                coefficient_of_variation: 0.08,
                ..ServiceWork::default()
            },
            init: InitLaw { cpu_seconds: 0.2, floor_seconds: 0.2 },
            memory: MemoryNeed { base_mib: 220.0, per_process_mib: 30.0 },
            ..ModelProfile::default()
        }),
        base: support::loop_config(0.2, 100.0).base,
        economics: account.economics,
        slo_percentile: 0.99,
        memory_mib: [256, 512, 1024, 1769, 3008].map(Mebibytes).to_vec(),
        max_process_count: 2,
        max_batch_size: 24,
        network_seconds: 0.004,
        runtime_seconds: account.runtime_s,
    }
}

/// Runs one model under Poisson arrivals.
pub fn serve(
    known: &Known,
    rate: f64,
    controller: Box<dyn Controller>,
    seconds: f64,
    cold_starts: ColdStarts,
) -> ModelReport {
    serve_from(known, Box::new(Poisson::new(rate)), controller, seconds, cold_starts)
}

pub fn serve_from(
    known: &Known,
    arrivals: Box<dyn ArrivalProcess>,
    controller: Box<dyn Controller>,
    seconds: f64,
    cold_starts: ColdStarts,
) -> ModelReport {
    let model = ModelConfig::new("light", Arc::clone(&known.function), arrivals, controller);
    let account = Account { cold_starts, ..Account::default() };
    let config = DeploymentConfig { account, ..DeploymentConfig::new(vec![model], seconds, 5) };
    run(config, &mut Unobserved).unwrap().models.remove(0)
}
