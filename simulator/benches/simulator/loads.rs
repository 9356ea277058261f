//! The loads that are timed.

use std::time::Duration;

use gateway_contract::{PackingPolicy, ServiceTimeTable, ServingPlan};
use simulator::arrivals::Poisson;
use simulator::deployment::{DeploymentConfig, FixedPlan, ModelConfig, Records, SizeLaw, TunerController};

use crate::support;

/// Requests of one round.
const REQUESTS: f64 = 2e6;

/// A load.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// Its figure is the measurement's.
    pub(crate) is_headline: bool,
    models: u32,
    /// Requests per second of each.
    rate: f64,
    packing: PackingPolicy,
    records: Records,
    classes: u32,
    /// The tuner steers; otherwise nobody.
    is_tuned: bool,
}

const PLAIN: Load = Load {
    name: "",
    is_headline: false,
    models: 1,
    rate: 64.0,
    packing: PackingPolicy::Deadline,
    records: Records::None,
    classes: 1,
    is_tuned: false,
};

pub(crate) const LOADS: &[Load] = &[
    Load { name: "64/s, batches", is_headline: true, ..PLAIN },
    Load { name: "300/s, batches", rate: 300.0, ..PLAIN },
    Load { name: "64/s, fifo", packing: PackingPolicy::Fifo, ..PLAIN },
    Load { name: "64/s, unbatched", packing: PackingPolicy::None, ..PLAIN },
    Load { name: "64/s, every window kept", records: Records::Every, ..PLAIN },
    Load { name: "64/s, four size classes", classes: 4, ..PLAIN },
    Load { name: "8 models of 64/s", models: 8, ..PLAIN },
    Load { name: "64/s, the tuner steers", is_tuned: true, ..PLAIN },
];

impl Load {
    pub(crate) fn config(&self, seed: u64) -> DeploymentConfig {
        // A tuner decides each window: a tenth is enough to see what that costs.
        let requests = if self.is_tuned { REQUESTS / 10.0 } else { REQUESTS };
        let seconds = requests / self.rate / f64::from(self.models);
        let models = (0..self.models).map(|_| self.model());
        DeploymentConfig { records: self.records, ..DeploymentConfig::new(models.collect(), seconds, seed) }
    }

    fn model(&self) -> ModelConfig {
        let plan = plan(self.packing);
        let controller: Box<dyn simulator::deployment::Controller> = if self.is_tuned {
            let config = support::loop_config(0.5, 1.0);
            Box::new(TunerController::new(config.settings, plan, config.economics).unwrap())
        } else {
            Box::new(FixedPlan::new(plan))
        };
        ModelConfig {
            sizes: SizeLaw::classes(&vec![1.0; self.classes as usize]),
            ..ModelConfig::new("model", function(), Box::new(Poisson::new(self.rate)), controller)
        }
    }
}

pub(crate) fn function() -> std::sync::Arc<dyn simulator::lambda::FunctionModel> {
    support::credit(support::light())
}

/// Up to 32 items within half a second.
pub(crate) fn plan(packing: PackingPolicy) -> ServingPlan {
    let mut plan = support::loop_config(0.5, 1.0).base;
    let ms = Duration::from_millis;
    plan.packing = packing;
    plan.max_queue_delay = ms(400);
    plan.max_in_flight = 1000;
    plan.service_time_upper = ServiceTimeTable::new(vec![(1, ms(30)), (32, ms(420))]).unwrap();
    if packing == PackingPolicy::None {
        plan.max_batch_size = 1;
        plan.rungs[0].max_items = 1;
    }
    plan
}
