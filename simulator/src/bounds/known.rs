//! A function as a planner knows it that was told the truth: its service law, its prices and its objective.

use std::sync::Arc;

use gateway_contract::{Mebibytes, PackingPolicy, Rung, ServiceTimeTable, ServingPlan};
use optimizer_tuner::Economics;
use optimizer_tuner::formula::{LogNormal, ServiceLaw};

use crate::lambda::{BatchShape, FunctionModel};

/// Everything about one function but its arrivals.
#[derive(Clone)]
pub struct Known {
    /// The truth about its service times.
    pub function: Arc<dyn FunctionModel>,
    /// Queue bounds, retries and objective (`slo_latency`) of every plan.
    pub base: ServingPlan,
    /// What things cost.
    pub economics: Economics,
    /// Share of requests that must be answered within the objective, 0 to 1.
    pub slo_percentile: f64,
    /// Published sizes, ascending.
    pub memory_mib: Vec<Mebibytes>,
    /// Most processes of an environment.
    pub max_process_count: u32,
    /// Largest batch, items.
    pub max_batch_size: u32,
    /// Seconds of a round trip that are not billed.
    pub network_seconds: f64,
    /// Billed seconds beyond the handler.
    pub runtime_seconds: f64,
}

/// Where a batch may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownPlace {
    /// Memory of the function.
    pub memory_mib: Mebibytes,
    /// Processes of the batch.
    pub process_count: u32,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("memory_mib", &self.memory_mib).finish_non_exhaustive()
    }
}

impl Known {
    /// Places that the function fits in. More processes than vCPUs (rounded up) only share what one process less had.
    #[must_use]
    pub fn places(&self) -> Vec<KnownPlace> {
        let fits = |place: &KnownPlace| self.function.memory_used(place.process_count) <= place.memory_mib;
        let of_size = |&memory_mib: &Mebibytes| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 6")]
            let useful = (memory_mib.vcpus().ceil() as u32).clamp(1, self.max_process_count.max(1));
            (1..=useful).map(move |process_count| KnownPlace { memory_mib, process_count })
        };
        self.memory_mib.iter().flat_map(of_size).filter(fits).collect()
    }

    /// Law of the billed seconds of a warm batch.
    #[must_use]
    pub fn billed(&self, place: KnownPlace, items: u32) -> LogNormal {
        let items = items.max(1);
        let shape = BatchShape::uniform(items, place.process_count, self.function.units(0));
        let law = self.function.law(place.memory_mib, &shape);
        // A log-normal that is shifted by a little remains nearly one.
        let median = law.ln_mean.exp();
        let shifted = median + self.runtime_seconds;
        LogNormal { ln_mean: shifted.ln(), ln_std: law.ln_std * median / shifted }
    }

    /// Seconds, as the caller sees them, that a share `probability` of the warm batches does not exceed.
    #[must_use]
    pub fn upper_seconds(&self, place: KnownPlace, items: u32, probability: f64) -> f64 {
        self.billed(place, items).quantile(probability) + self.network_seconds
    }

    /// Dollars per billed second of a size.
    #[must_use]
    pub fn usd_per_second(&self, memory: Mebibytes) -> f64 {
        let Economics { prices, architecture, month_gb_seconds } = &self.economics;
        memory.gibibytes() * prices.usd_per_gb_second(*architecture, *month_gb_seconds)
    }

    /// Expected dollars of one warm batch, fee included.
    #[must_use]
    pub fn batch_usd(&self, place: KnownPlace, items: u32) -> f64 {
        let billed = self.billed(place, items).expected_billed();
        billed * self.usd_per_second(place.memory_mib) + self.economics.prices.request_usd()
    }

    /// The objective in seconds.
    #[must_use]
    pub fn slo_seconds(&self) -> f64 {
        self.base.slo_latency.as_secs_f64()
    }

    /// A rung at a place.
    #[must_use]
    pub fn rung(&self, max_items: u32, place: KnownPlace) -> Rung {
        Rung {
            max_items,
            qualifier: format!("mem-{}", place.memory_mib.0),
            memory_mib: place.memory_mib,
            process_count: place.process_count,
        }
    }

    /// Each request alone and at once.
    #[must_use]
    pub fn unbatched(&self, memory_mib: Mebibytes) -> ServingPlan {
        let place = KnownPlace { memory_mib, process_count: 1 };
        ServingPlan {
            packing: PackingPolicy::None,
            max_batch_size: 1,
            max_queue_delay: std::time::Duration::ZERO,
            service_time_upper: self.table(1, |items| self.upper_seconds(place, items, self.slo_percentile)),
            rungs: vec![self.rung(1, place)],
            canary: None,
            hold_out: None,
            environments: None,
            ..self.base.clone()
        }
    }

    /// A table of upper service times at a few fills, never descending.
    pub(crate) fn table(&self, max_items: u32, upper_seconds: impl Fn(u32) -> f64) -> ServiceTimeTable {
        let mut points: Vec<(u32, std::time::Duration)> = Vec::new();
        let mut items = 1;
        loop {
            let upper = std::time::Duration::from_secs_f64(upper_seconds(items).clamp(0.0, 900.0));
            points.push((items, points.last().map_or(upper, |&(_, before)| before.max(upper))));
            if items >= max_items {
                break;
            }
            items = (items + (items / 8).max(1)).min(max_items);
        }
        ServiceTimeTable::new(points).unwrap_or_else(|_| self.base.service_time_upper.clone())
    }
}

/// The law of a plan's rungs, as the formula reads it.
#[derive(Debug)]
pub(crate) struct PlaceLaws {
    /// By place and items.
    pub(crate) laws: Vec<Vec<LogNormal>>,
    pub(crate) network_seconds: f64,
}

impl ServiceLaw for PlaceLaws {
    fn billed_seconds(&self, items: u32, rung: usize) -> LogNormal {
        let row = &self.laws[rung];
        row[(items as usize).min(row.len() - 1)]
    }

    fn overhead_seconds(&self, _items: u32, _rung: usize) -> f64 {
        self.network_seconds
    }
}
