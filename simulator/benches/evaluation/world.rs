//! One cell as the planes see it: what an operator configures, what a run brought.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{
    Mebibytes, ModelId, PackingPolicy, PlanRevision, RetryLimits, Rung, ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::settings::{AccountLimits, SearchBounds};
use optimizer_tuner::{PolicyKind, TunerSettings};
use serde_json::{Value, json};
use simulator::bounds::Known;
use simulator::deployment::{
    Account, ColdStarts, Controller, DeploymentConfig, ModelConfig, ModelReport, NetworkLaw, Records,
    Unobserved, run,
};
use simulator::lambda::FunctionModel;
use simulator::profile::example;

use crate::cells::Cell;
use crate::machine::cpu_seconds;
use crate::traces::SECONDS;

/// Sizes with an alias: for every policy the same.
pub const SIZES_MIB: [u32; 9] = [256, 512, 1024, 1769, 3008, 3538, 5307, 7076, 10_240];
/// Largest batch, items.
const MAX_BATCH: u32 = 128;
const MAX_PROCESSES: u32 = 6;
/// Share of requests within the objective that is asked for.
pub const PERCENTILE: f64 = 0.99;
/// Round trip beyond what is billed, and billed beyond the handler, seconds.
const NETWORK_S: f64 = 0.004;
const RUNTIME_S: f64 = 0.001;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub usd_per_million: f64,
    /// Share of requests outside the objective.
    pub late_share: f64,
    pub mean_fill: f64,
    pub cold_starts: f64,
    /// INIT, of cold starts and of environments warmed for a plan, as a share of all dollars.
    pub init_share: f64,
    pub trials: f64,
    pub change_points: f64,
    pub plans: f64,
    pub cpu_s: f64,
}

impl Outcome {
    pub fn json(&self) -> Value {
        json!({
            "usd_per_million": self.usd_per_million,
            "late_share": self.late_share,
            "mean_fill": self.mean_fill,
            "cold_starts": self.cold_starts,
            "init_share": self.init_share,
            "trials": self.trials,
            "change_points": self.change_points,
            "plans": self.plans,
            "cpu_s": self.cpu_s,
        })
    }
}

/// A cell with everything that is known of its function.
pub struct World {
    pub cell: Cell,
    pub known: Known,
    pub account: Account,
    /// Length of a run.
    pub seconds: f64,
    /// Whether the last plan of each run is printed.
    pub shows_plans: bool,
    /// Most plans that the oracle chooses from.
    pub candidates: usize,
}

impl World {
    pub fn new(cell: &Cell) -> Self {
        Self::of(cell, Arc::new(example(cell.model).unwrap()))
    }

    /// A cell with another function than its profile's.
    pub fn of(cell: &Cell, function: Arc<dyn FunctionModel>) -> Self {
        let account =
            Account { network: NetworkLaw::Fixed(NETWORK_S), runtime_s: RUNTIME_S, ..Account::default() };
        let known = Known {
            base: base(cell.slo_s, smallest(function.as_ref())),
            function,
            economics: account.economics.clone(),
            slo_percentile: PERCENTILE,
            memory_mib: SIZES_MIB.map(Mebibytes).to_vec(),
            max_process_count: MAX_PROCESSES,
            max_batch_size: MAX_BATCH,
            network_seconds: NETWORK_S,
            runtime_seconds: RUNTIME_S,
        };
        Self {
            cell: cell.clone(),
            known,
            account,
            seconds: SECONDS,
            shows_plans: false,
            candidates: if cell.rate > 100.0 { 12 } else { 24 },
        }
    }

    /// The production tuner's settings: defaults, but for where it may look.
    pub fn settings(&self, policy: PolicyKind, seed: u64) -> TunerSettings {
        TunerSettings {
            policy,
            seed,
            slo_percentile: PERCENTILE,
            account: AccountLimits { memory_ceiling: Mebibytes::LAMBDA_MAX, concurrency: 1000 },
            bounds: SearchBounds {
                memory_mib: self.known.memory_mib.clone(),
                process_count: (1, MAX_PROCESSES),
                batch_size: (1, MAX_BATCH),
                ..SearchBounds::default()
            },
            ..TunerSettings::default()
        }
    }

    /// Runs under a controller.
    pub fn run(
        &self,
        controller: Box<dyn Controller>,
        seed: u64,
        cold_starts: ColdStarts,
        records: Records,
    ) -> (Outcome, ModelReport) {
        let began = cpu_seconds();
        let arrivals = self.cell.trace.arrivals(self.cell.rate);
        let model = ModelConfig {
            slo_percentile: PERCENTILE,
            ..ModelConfig::new(self.cell.model, Arc::clone(&self.known.function), arrivals, controller)
        };
        let config = DeploymentConfig {
            account: Account { cold_starts, ..self.account.clone() },
            records,
            ..DeploymentConfig::new(vec![model], self.seconds, seed)
        };
        let mut report = run(config, &mut Unobserved).unwrap();
        let model = report.models.remove(0);
        let outcome = Outcome {
            usd_per_million: model.usd_per_million(),
            late_share: 1.0 - model.share_within_slo(),
            mean_fill: model.mean_fill(),
            cold_starts: model.counts.cold_starts as f64,
            init_share: (model.usd.init + model.usd.warm_up) / model.usd.total(),
            trials: model.controller_counts.trials as f64,
            change_points: model.controller_counts.change_points as f64,
            plans: model.plans.len() as f64,
            cpu_s: cpu_seconds() - began,
        };
        if self.shows_plans {
            print_plan(&outcome, model.plans.last().map(|(_, plan)| plan));
        }
        (outcome, model)
    }
}

fn print_plan(outcome: &Outcome, plan: Option<&ServingPlan>) {
    let Some(plan) = plan else { return };
    let rungs: Vec<String> = plan
        .rungs
        .iter()
        .map(|rung| format!("≤{} {}×{}", rung.max_items, rung.memory_mib.0, rung.process_count))
        .collect();
    let upper = |items| plan.service_time_upper.upper(items).as_secs_f64() * 1e3;
    println!(
        "  {:.4} USD, {:.2} % late, fill {:.2}, {} plans; last {:?} {} in {:.1} ms, upper {:.1} to {:.1} ms, {}",
        outcome.usd_per_million,
        outcome.late_share * 100.0,
        outcome.mean_fill,
        outcome.plans,
        plan.packing,
        plan.max_batch_size,
        plan.max_queue_delay.as_secs_f64() * 1e3,
        upper(1),
        upper(plan.max_batch_size),
        rungs.join(" ")
    );
}

/// One vCPU, or the next size that the function fits in.
fn smallest(function: &dyn FunctionModel) -> Mebibytes {
    let fits = |size: &&u32| **size >= 1769 && function.memory_used(1).0 <= **size;
    Mebibytes(*SIZES_MIB.iter().find(fits).unwrap())
}

/// What an operator configures who knows the objective and nothing else: a fifth of it to gather at most four requests, half of it for the
/// service, a fiftieth in reserve.
fn base(slo_s: f64, memory_mib: Mebibytes) -> ServingPlan {
    let ms = Duration::from_millis;
    let share = |share: f64| Duration::from_secs_f64(slo_s * share);
    ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing: PackingPolicy::Deadline,
        max_batch_size: 4,
        max_queue_delay: share(0.2),
        max_in_flight: 500,
        queue_capacity_items: 10_000,
        queue_capacity_bytes: 1 << 28,
        max_request_payload_bytes: 6_000_000,
        max_response_payload_bytes: 6_000_000,
        slo_latency: share(1.0),
        deadline_margin: share(0.02).min(ms(10)),
        service_time_upper: ServiceTimeTable::new(vec![(1, share(0.5))]).unwrap(),
        rungs: vec![Rung {
            max_items: 4,
            qualifier: format!("mem-{}", memory_mib.0),
            memory_mib,
            process_count: 1,
        }],
        canary: None,
        hold_out: None,
        environments: None,
        retry: RetryLimits::default(),
    }
}
