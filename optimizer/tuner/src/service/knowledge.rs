//! All that observations of one model have taught, and how one observation is taken in.
//!
//! Cold starts are kept apart: their INIT is learned by memory, their handler time (first touches of pages and caches) is left out. A
//! common factor of all service times, *drift*, is followed fast: a noisy neighbour or a slower network moves every prediction at once, and
//! back, without unlearning the shape.

use std::collections::BTreeMap;

use gateway_contract::{ServiceObservation, ServiceOutcome};
use serde::{Deserialize, Serialize};

use super::belief::Belief;
use super::cells::{Cells, Sample};
use super::memory_floor::MemoryFloor;
use super::padding::Padding;
use super::physics::Place;
use super::running::Running;

/// Batches over which drift is averaged. More: calmer, later.
const DRIFT_MEMORY: f64 = 30.0;
/// One batch counts at most this far from what was predicted, in ln S.
const DRIFT_BOUND: f64 = 1.0;
/// Batches over which overheads and INIT are averaged.
const OVERHEAD_MEMORY: f64 = 500.0;
/// INIT that is assumed before one was seen, seconds.
const UNKNOWN_INIT_S: f64 = 0.5;

/// What taking an observation in has brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// A warm service time.
    Service,
    /// Nothing of use.
    Nothing,
    /// A size ran out of memory that was not known to.
    RanOutOfMemory {
        /// Processes.
        process_count: u32,
        /// MiB.
        memory_mib: u32,
    },
}

/// What was learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Knowledge {
    /// Service times by operating point.
    pub cells: Cells,
    /// Work by items.
    pub padding: Padding,
    /// Least memory.
    pub memory_floor: MemoryFloor,
    /// ln of the present service times over the learned ones.
    pub drift: Running,
    /// Billed beyond handler and rounding, seconds.
    billing_extra: Running,
    /// Round trip beyond the handler, seconds.
    overhead: Running,
    /// INIT in seconds, by MiB.
    init: BTreeMap<u32, Running>,
    /// Completed observations.
    pub completed: u64,
}

impl Knowledge {
    /// Takes an observation in; `belief` is what was predicted from, if anything.
    pub fn add(&mut self, observation: &ServiceObservation, belief: Option<&Belief>) -> Learned {
        let (memory_mib, process_count) = (observation.memory_mib.0, observation.process_count);
        match observation.outcome {
            ServiceOutcome::OutOfMemory => {
                let is_news = self.memory_floor.ran_out(process_count, memory_mib);
                return if is_news {
                    Learned::RanOutOfMemory { process_count, memory_mib }
                } else {
                    Learned::Nothing
                };
            }
            ServiceOutcome::FunctionError | ServiceOutcome::NotRun => return Learned::Nothing,
            ServiceOutcome::Completed => {}
        }
        if let Some(used) = observation.max_memory_used.filter(|used| used.0 > 0) {
            self.memory_floor.used(process_count, used.0);
        }
        if let Some(init) = observation.init {
            self.init.entry(memory_mib).or_default().add(init.as_secs_f64(), OVERHEAD_MEMORY);
            return Learned::Nothing;
        }
        let service_s = observation.handler.as_secs_f64();
        if service_s <= 0.0 || observation.items == 0 || observation.process_restarts > 0 {
            return Learned::Nothing;
        }
        let shard_items = f64::from(observation.items.div_ceil(process_count.max(1)));
        #[expect(clippy::cast_precision_loss, reason = "units of one shard are far below 2^53")]
        let shard_units = match observation.shard_padded_units {
            0 => shard_items,
            units => units as f64,
        };
        let sample = Sample { memory_mib, process_count, items: observation.items, shard_units, service_s };
        if let Some(belief) = belief {
            let predicted = belief.about(&Place {
                memory_mib,
                process_count,
                items: f64::from(observation.items),
                shard_units,
            });
            // Only what is known well tells of drift: elsewhere a difference is something to learn.
            if predicted.unknown_std < 0.1 {
                let residual = (service_s.ln() - predicted.ln_mean).clamp(-DRIFT_BOUND, DRIFT_BOUND);
                self.drift.add(residual, DRIFT_MEMORY);
            }
        }
        self.cells.add(&sample, self.drift_ln(), observation.is_canary);
        self.padding.add(shard_items, shard_units);
        self.overhead.add((observation.round_trip.as_secs_f64() - service_s).max(0.0), OVERHEAD_MEMORY);
        if !observation.billed_is_estimate {
            let extra = observation.billed.as_secs_f64() - service_s - 0.000_5;
            self.billing_extra.add(extra.max(0.0), OVERHEAD_MEMORY);
        }
        self.completed += 1;
        Learned::Service
    }

    /// ln of the present factor; zero while it is within its own uncertainty.
    #[must_use]
    pub fn drift_ln(&self) -> f64 {
        let error = (self.drift.variance / self.drift.weight.max(1.0)).sqrt();
        if self.drift.weight < DRIFT_MEMORY / 2.0 || self.drift.mean.abs() < (3.0 * error).max(0.05) {
            return 0.0;
        }
        self.drift.mean
    }

    /// Billed beyond the handler, seconds.
    #[must_use]
    pub fn billing_extra_s(&self) -> f64 {
        self.billing_extra.mean_or(0.001)
    }

    /// Round trip beyond the handler: mean and standard deviation, seconds.
    #[must_use]
    pub fn overhead_s(&self) -> (f64, f64) {
        (self.overhead.mean_or(0.005), self.overhead.variance.sqrt())
    }

    /// INIT of a size, seconds.
    #[must_use]
    pub fn init_s(&self, memory_mib: u32) -> f64 {
        let others = || {
            let known: Vec<f64> = self.init.values().map(|init| init.mean).collect();
            if known.is_empty() { UNKNOWN_INIT_S } else { known.iter().sum::<f64>() / known.len() as f64 }
        };
        self.init.get(&memory_mib).map_or_else(others, |init| init.mean)
    }

    /// Whether every number is usable: state comes from files.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.cells.is_sound()
            && self.padding.is_sound()
            && self.memory_floor.is_sound()
            && [&self.drift, &self.billing_extra, &self.overhead]
                .into_iter()
                .chain(self.init.values())
                .all(Running::is_sound)
    }
}
