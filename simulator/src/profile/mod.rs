//! Model profiles: what a model costs on Lambda, in a handful of physical numbers.
//!
//! Rule: a batch is W = k·w0 + Σ items·w1 + padded units·w2 of CPU work on k busy processes; the credit, the visible CPUs and the quota make
//! seconds of it ([`crate::lambda::CpuWork`]), a log-normal factor the spread. A profile comes from a hand ([`ModelProfile::from_toml`]), from a sweep of
//! the real function ([`Sweep`]) or from a table of somebody's measurements ([`Table`]); the latter two are fitted, and say how well.
//! Deliberately absent: files (the caller reads them), prices, what runtime and network add (they are the account's).

mod errors;
mod examples;
mod file;
mod fit;
mod sweep;
mod table;

use gateway_contract::Mebibytes;
use optimizer_tuner::formula::LogNormal;

use crate::lambda::{BatchShape, CpuWork, FunctionModel, visible_cpus};

pub use errors::ProfileError;
pub use examples::{EXAMPLES, example};
pub(crate) use fit::minimise;
pub use fit::{Cell, FitErrors, Fitted, relative_errors};
pub use sweep::Sweep;
pub use table::Table;

/// CPU work of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServiceWork {
    /// Seconds per invocation that no memory shortens; at least 0.
    pub fixed_seconds: f64,
    /// CPU seconds per busy process and batch, at least 0. More of it makes batching pay and processes cost.
    pub process_seconds: f64,
    /// CPU seconds per item, at least 0.
    pub item_seconds: f64,
    /// CPU seconds per work unit (for text: token), padding included; at least 0.
    pub unit_seconds: f64,
    /// Share of a process's work that its own threads can spread over the visible CPUs, 0 to 1. Workers of this project run single-threaded: 0.
    pub thread_parallel_share: f64,
    /// Standard deviation over mean of the handler's time, at least 0.
    pub coefficient_of_variation: f64,
    /// Whether the credit comes in periods of 20 ms (Lambda) or flows evenly.
    pub is_quantised: bool,
}

/// What a cold start does before it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InitLaw {
    /// CPU seconds on one thread; less than one vCPU makes them longer.
    pub cpu_seconds: f64,
    /// Seconds that no memory shortens.
    pub floor_seconds: f64,
}

/// Memory that a model needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryNeed {
    /// MiB that all processes share: runtime, weights.
    pub base_mib: f64,
    /// MiB of each process. Shared weights: small; a copy a process: large.
    pub per_process_mib: f64,
}

/// A model as the simulator knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelProfile {
    /// Name, for tables.
    pub name: String,
    /// CPU work.
    pub service: ServiceWork,
    /// Cold start.
    pub init: InitLaw,
    /// Memory.
    pub memory: MemoryNeed,
    /// Work units of an item by size class; empty: one class of one unit.
    pub class_units: Vec<u64>,
}

impl ServiceWork {
    /// CPU work of one batch where so many CPUs are visible.
    #[must_use]
    pub fn work(&self, batch: &BatchShape, units_of_class_0: u64, visible: u32) -> CpuWork {
        let items = f64::from(batch.items.max(1));
        let (busy, shard_items) = (f64::from(batch.busy()), f64::from(batch.shard_items()));
        let shard_units = match batch.shard_padded_units {
            0 => shard_items * units_of_class_0 as f64,
            padded => padded as f64,
        };
        let shard = self.process_seconds + shard_items * self.item_seconds + shard_units * self.unit_seconds;
        // Shards are padded to about the same length, so all units are to the items as those of the largest shard.
        let units = shard_units * items / shard_items;
        let threads = (f64::from(visible) / busy).max(1.0);
        let share = self.thread_parallel_share;
        CpuWork {
            total_seconds: busy * self.process_seconds
                + items * self.item_seconds
                + units * self.unit_seconds,
            longest_shard_seconds: shard * (1.0 - share + share / threads),
        }
    }
}

impl ModelProfile {
    /// Mean seconds of the handler, warm.
    #[must_use]
    pub fn mean_seconds(&self, memory: Mebibytes, batch: &BatchShape) -> f64 {
        let work = self.service.work(batch, self.units(0), visible_cpus(memory));
        self.service.fixed_seconds + work.seconds(memory, self.service.is_quantised)
    }

    /// CPU seconds of one item in an endless batch on one process: no plan is cheaper per item than this work at the price of a vCPU-second.
    #[must_use]
    pub fn marginal_item_seconds(&self, class: u16) -> f64 {
        self.service.item_seconds + self.service.unit_seconds * self.units(class) as f64
    }
}

impl FunctionModel for ModelProfile {
    fn law(&self, memory: Mebibytes, batch: &BatchShape) -> LogNormal {
        LogNormal::from_mean(self.mean_seconds(memory, batch), self.service.coefficient_of_variation)
    }

    fn init_seconds(&self, memory: Mebibytes) -> f64 {
        self.init.floor_seconds + self.init.cpu_seconds / memory.vcpus().min(1.0)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "MiB within Lambda's range; a float saturates"
    )]
    fn memory_used(&self, process_count: u32) -> Mebibytes {
        let used = self.memory.base_mib + f64::from(process_count.max(1)) * self.memory.per_process_mib;
        Mebibytes(used.ceil() as u32)
    }

    fn units(&self, class: u16) -> u64 {
        let last = self.class_units.last();
        self.class_units.get(usize::from(class)).or(last).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> ModelProfile {
        ModelProfile {
            service: ServiceWork {
                process_seconds: 0.006,
                unit_seconds: 0.001,
                is_quantised: true,
                ..ServiceWork::default()
            },
            init: InitLaw { cpu_seconds: 0.5, floor_seconds: 0.1 },
            memory: MemoryNeed { base_mib: 100.0, per_process_mib: 10.5 },
            class_units: vec![16, 128],
            ..ModelProfile::default()
        }
    }

    #[test]
    fn long_items_cost_their_units() {
        let of = |units| profile().mean_seconds(Mebibytes(1769), &BatchShape::uniform(4, 1, units));
        assert!((of(16) - 0.070).abs() < 1e-12);
        assert!((of(128) - 0.518).abs() < 1e-12);
        let unknown = BatchShape { units: 0, shard_padded_units: 0, ..BatchShape::uniform(4, 1, 16) };
        assert!((profile().mean_seconds(Mebibytes(1769), &unknown) - 0.070).abs() < 1e-12, "class 0");
    }

    #[test]
    fn two_processes_halve_the_items_and_pay_twice_per_process() {
        let seconds = |memory, p| profile().mean_seconds(Mebibytes(memory), &BatchShape::uniform(8, p, 16));
        assert!((seconds(3538, 2) - 0.070).abs() < 1e-12);
        // One vCPU for both: the second start is paid, and only the last period's quota is used up faster.
        let (one, two) = (seconds(1769, 1), seconds(1769, 2));
        assert!((two - (one + 0.006 - 0.010)).abs() < 1e-9, "{one} {two}");
    }

    #[test]
    fn threads_of_one_process_follow_amdahl() {
        let mut profile = profile();
        profile.service.thread_parallel_share = 0.8;
        profile.service.is_quantised = false;
        let seconds = profile.mean_seconds(Mebibytes(10_240), &BatchShape::uniform(8, 1, 16));
        assert!((seconds - 0.134 * (0.2 + 0.8 / 6.0)).abs() < 1e-12, "{seconds}");
    }

    #[test]
    fn init_grows_below_one_vcpu_only_and_memory_by_process() {
        let profile = profile();
        assert!((profile.init_seconds(Mebibytes(10_240)) - 0.6).abs() < 1e-12);
        assert!((profile.init_seconds(Mebibytes(256)) - (0.1 + 0.5 * 1769.0 / 256.0)).abs() < 1e-9);
        assert_eq!(profile.memory_used(1), Mebibytes(111));
        assert_eq!(profile.memory_used(4), Mebibytes(142));
        assert_eq!((profile.units(1), profile.units(9)), (128, 128));
    }
}
