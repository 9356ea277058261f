//! A model's profile, in the form that the simulator's profile files have.
//!
//! Rule: a chunk is W = busy processes · process + items · item + units · unit of CPU work; memory buys memory/1769 of a CPU per second, granted as a
//! quota per 20 ms, of the CPUs that a function of this size sees. As in `simulator/src/lambda/credit.rs`, which a test there holds this against.
//! Reference: AWS Lambda documentation (1,769 MB are one vCPU); published measurements of visible CPUs by memory and of the period.

use gateway_contract::Mebibytes;
use serde::{Deserialize, Serialize};

use super::knowledge::{ServiceKnowledge, Work};
use crate::formula::LogNormal;
use crate::service::belief::{Predicted, RungPoint};

const QUOTA_PERIOD_S: f64 = 0.020;
/// How far a profile is trusted unless somebody knows better.
const UNKNOWN_LN_STD: f64 = 0.05;
/// Billed beyond the handler, and waited for beyond it, seconds: what the worker's runtime and a region's network usually take.
const BILLING_EXTRA_S: f64 = 0.001;
const OVERHEAD_S: f64 = 0.005;

/// A profile: milliseconds and MiB as people write them. Unknown keys are errors; every number at least 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The model.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// CPU work.
    pub service: Service,
    /// Cold start.
    #[serde(default)]
    pub init: Init,
    /// Memory that is needed.
    pub memory: Memory,
    /// Work units by size class.
    #[serde(default)]
    pub classes: Classes,
    /// How far it is trusted: standard deviation of ln S; not part of the file.
    #[serde(skip, default = "usual_trust")]
    pub unknown_ln_std: f64,
}

fn usual_trust() -> f64 {
    UNKNOWN_LN_STD
}

/// CPU work of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Per invocation, shortened by no memory.
    pub fixed_ms: f64,
    /// Per busy process.
    pub process_ms: f64,
    /// Per item.
    pub item_ms: f64,
    /// Per work unit.
    pub unit_ms: f64,
    /// Share of a process's work that its threads spread over the visible CPUs, 0 to 1.
    pub thread_parallel_share: f64,
    /// Standard deviation over mean of a chunk's time.
    pub coefficient_of_variation: f64,
    /// Whether the CPU credit comes in periods.
    pub is_quantised: bool,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            fixed_ms: 0.0,
            process_ms: 0.0,
            item_ms: 0.0,
            unit_ms: 0.0,
            thread_parallel_share: 0.0,
            coefficient_of_variation: 0.0,
            is_quantised: true,
        }
    }
}

/// What a cold start does before it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Init {
    /// CPU seconds on one thread.
    pub cpu_seconds: f64,
    /// Seconds that no memory shortens.
    pub floor_seconds: f64,
}

/// Memory that a model needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// MiB of all processes together.
    pub base_mib: f64,
    /// MiB of each process.
    pub per_process_mib: f64,
}

/// Work units of an item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Classes {
    /// By size class; the first counts where a job says nothing.
    pub units: Vec<u64>,
}

impl Profile {
    /// Mean seconds of the handler, warm.
    #[must_use]
    pub fn mean_seconds(&self, point: RungPoint, work: Work) -> f64 {
        let service = &self.service;
        let items = f64::from(work.items.max(1));
        let busy = f64::from(point.process_count.min(work.items).max(1));
        let shard_items = (items / busy).ceil();
        #[expect(clippy::cast_precision_loss, reason = "work units are far below 2^53")]
        let usual = self.classes.units.first().map_or(1.0, |&units| units as f64);
        let item_s = (service.item_ms + work.units_per_item.unwrap_or(usual) * service.unit_ms) / 1e3;
        let process_s = service.process_ms / 1e3;
        let visible = visible_cpus(point.memory_mib);
        let threads = (visible / busy).max(1.0);
        let share = service.thread_parallel_share;
        let longest = (process_s + shard_items * item_s) * (1.0 - share + share / threads);
        let total = busy * process_s + items * item_s;
        let credit = Mebibytes(point.memory_mib).vcpus();
        service.fixed_ms / 1e3 + granted_seconds(total, longest, credit, visible, service.is_quantised)
    }
}

impl ServiceKnowledge for Profile {
    fn service(&self, point: RungPoint, work: Work) -> Predicted {
        let law = LogNormal::from_mean(
            self.mean_seconds(point, work).max(1e-6),
            self.service.coefficient_of_variation,
        );
        Predicted { ln_mean: law.ln_mean, noise_std: law.ln_std, unknown_std: self.unknown_ln_std }
    }

    fn init_s(&self, memory: Mebibytes) -> f64 {
        self.init.floor_seconds + self.init.cpu_seconds / memory.vcpus().min(1.0)
    }

    fn fits(&self, point: RungPoint) -> bool {
        let used = self.memory.base_mib + f64::from(point.process_count) * self.memory.per_process_mib;
        used <= f64::from(point.memory_mib)
    }

    fn billing_extra_s(&self) -> f64 {
        BILLING_EXTRA_S
    }

    fn overhead_s(&self) -> f64 {
        OVERHEAD_S
    }
}

/// Seconds until so much work is done, from a fresh quota.
fn granted_seconds(total: f64, longest: f64, credit: f64, visible: f64, is_quantised: bool) -> f64 {
    let free = longest.max(total / visible);
    let parallel = total / free.max(1e-12);
    if credit >= parallel {
        return free;
    }
    if !is_quantised {
        return total / credit;
    }
    let quota = QUOTA_PERIOD_S * credit;
    let whole = (total / quota - 1e-9).floor().max(0.0);
    whole * QUOTA_PERIOD_S + (total - whole * quota) / parallel
}

/// CPUs that a function of this memory sees.
fn visible_cpus(memory_mib: u32) -> f64 {
    match memory_mib {
        0..=3008 => 2.0,
        3009..=5307 => 3.0,
        5308..=7076 => 4.0,
        7077..=8845 => 5.0,
        _ => 6.0,
    }
}
