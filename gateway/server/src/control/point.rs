//! Operating points as operators and files write them, and the plans that they stand for.

use std::time::Duration;

use gateway_contract::{Mebibytes, Rung, ServiceTimeTable, ServingPlan};
use serde::{Deserialize, Serialize};

/// What an operator pins. What is left out stays as in the plan in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinnedPoint {
    /// Items.
    max_batch_size: Option<u32>,
    /// Milliseconds.
    max_queue_delay_ms: Option<f64>,
    /// MiB.
    memory_mib: Option<u32>,
    process_count: Option<u32>,
}

/// Longest wait that can be pinned: an hour, as long as a window.
const LONGEST_QUEUE_DELAY_MS: f64 = 3_600_000.0;

impl PinnedPoint {
    /// The plan that it stands for. `allowed` lists the sizes that have an alias.
    ///
    /// # Errors
    /// What is wrong, with the field's name.
    pub(super) fn plan(
        self,
        in_force: &ServingPlan,
        base: &ServingPlan,
        allowed: &[Mebibytes],
    ) -> Result<ServingPlan, String> {
        let mut plan = in_force.clone();
        (plan.canary, plan.hold_out) = (None, None);
        if let Some(delay) = self.max_queue_delay_ms {
            if !(0.0..=LONGEST_QUEUE_DELAY_MS).contains(&delay) {
                return Err("`max_queue_delay_ms` must be 0 to 3600000".to_owned());
            }
            plan.max_queue_delay = Duration::from_secs_f64(delay / 1e3);
        }
        if let Some(size) = self.max_batch_size {
            plan.max_batch_size = size;
            let needed = plan.rungs.partition_point(|rung| rung.max_items < size) + 1;
            plan.rungs.truncate(needed);
            if let Some(last) = plan.rungs.last_mut() {
                last.max_items = last.max_items.max(size);
            }
        }
        if self.memory_mib.is_some() || self.process_count.is_some() {
            let largest = plan.rungs.last().cloned().ok_or("the plan in force has no rung")?;
            let memory = self.memory_mib.map_or(largest.memory_mib, Mebibytes);
            let known = base.rungs.iter().chain(&in_force.rungs).find(|rung| rung.memory_mib == memory);
            if known.is_none() && !allowed.contains(&memory) {
                let sizes: Vec<_> = allowed.iter().map(|size| size.0.to_string()).collect();
                return Err(format!(
                    "`memory_mib` {} has no alias here; known: {}",
                    memory.0,
                    sizes.join(", ")
                ));
            }
            plan.rungs = vec![Rung {
                max_items: plan.max_batch_size,
                qualifier: known.map_or_else(|| format!("mem-{}", memory.0), |rung| rung.qualifier.clone()),
                memory_mib: memory,
                process_count: self.process_count.unwrap_or(largest.process_count),
            }];
        }
        plan.validate().map_err(|error| error.to_string())?;
        Ok(plan)
    }
}

/// The part of a plan that a tuner chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPlan {
    max_batch_size: u32,
    max_queue_delay_ns: u64,
    deadline_margin_ns: u64,
    /// Items and nanoseconds.
    service_time_upper: Vec<(u32, u64)>,
    /// Largest fill, alias, MiB, processes.
    rungs: Vec<(u32, String, u32, u32)>,
}

/// Fills at which a table of service times is read off: between powers of two it is nearly straight.
const FILLS: u32 = 14;

impl StoredPlan {
    pub(super) fn of(plan: &ServingPlan) -> Self {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let fills = (0..FILLS).map(|power| 1 << power).take_while(|&fill| fill < plan.max_batch_size);
        let fills = fills.chain([plan.max_batch_size]);
        Self {
            max_batch_size: plan.max_batch_size,
            max_queue_delay_ns: nanos(plan.max_queue_delay),
            deadline_margin_ns: nanos(plan.deadline_margin),
            service_time_upper: fills
                .map(|fill| (fill, nanos(plan.service_time_upper.upper(fill))))
                .collect(),
            rungs: plan
                .rungs
                .iter()
                .map(|rung| (rung.max_items, rung.qualifier.clone(), rung.memory_mib.0, rung.process_count))
                .collect(),
        }
    }

    /// The plan, with everything that is not stored from `base`; `None`: it does not fit any more. `allowed` lists the sizes that
    /// have an alias.
    pub(super) fn plan(&self, base: &ServingPlan, allowed: &[Mebibytes]) -> Option<ServingPlan> {
        let points = self.service_time_upper.iter();
        let points = points.map(|&(items, nanos)| (items, Duration::from_nanos(nanos))).collect();
        let plan = ServingPlan {
            max_batch_size: self.max_batch_size,
            max_queue_delay: Duration::from_nanos(self.max_queue_delay_ns),
            deadline_margin: Duration::from_nanos(self.deadline_margin_ns),
            service_time_upper: ServiceTimeTable::new(points).ok()?,
            rungs: self
                .rungs
                .iter()
                .map(|(max_items, qualifier, memory, process_count)| Rung {
                    max_items: *max_items,
                    qualifier: qualifier.clone(),
                    memory_mib: Mebibytes(*memory),
                    process_count: *process_count,
                })
                .collect(),
            canary: None,
            hold_out: None,
            ..base.clone()
        };
        let is_known = |rung: &Rung| {
            allowed.contains(&rung.memory_mib)
                || base.rungs.iter().any(|other| other.qualifier == rung.qualifier)
        };
        (plan.validate().is_ok() && plan.rungs.iter().all(is_known)).then_some(plan)
    }
}
