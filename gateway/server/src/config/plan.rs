//! `[models.NAME.plan]`: the operating point of a model, until something better than a file sets it.

use gateway_contract::{
    Mebibytes, ModelId, PackingPolicy, PlanError, PlanRevision, RetryLimits, Rung, ServiceTimeTable,
    ServingPlan,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use workers_protocol::{LAMBDA_PAYLOAD_LIMIT_BYTES, REQUEST_ENVELOPE_BYTES};

use super::Milliseconds;

/// Bytes left free in an answer for what is not outputs: the report, errors, tensor names.
const RESPONSE_ENVELOPE_BYTES: usize = 64 * 1024;

/// How items become batches and where they run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PlanConfig {
    /// `none`: every request at once and alone. `fifo`: in order of arrival, closed when full or when the oldest has waited
    /// `max_queue_delay_ms`. `deadline`: earliest deadline first, closed in time for it. Default `deadline`.
    pub packing: PackingConfig,
    /// Size bound of a batch, items, 1 to 10,000, default 32. More: cheaper per item, slower to fill and to run.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_batch_size: u32,
    /// Longest wait of an item for its batch to fill, default 20. More: fuller batches, later answers. 0: never wait.
    pub max_queue_delay_ms: Milliseconds,
    /// Parallel invocations, at least 1, default 100. More: more throughput until Lambda throttles; the window adapts below it.
    #[schemars(range(min = 1))]
    pub max_in_flight: u32,
    /// Bound of waiting items, at least 1, default 10,000. Over it: 503 with Retry-After. More: longer queues under overload.
    #[schemars(range(min = 1))]
    pub queue_capacity_items: u32,
    /// Bound of waiting encoded bytes, at least 1, default 268,435,456. Over it: 503. Bounds the gateway's memory.
    #[schemars(range(min = 1))]
    pub queue_capacity_bytes: u64,
    /// Bound of one batch's encoded request, bytes, default what Lambda takes less the envelope. Less: smaller batches of large items.
    pub max_request_payload_bytes: u64,
    /// Bound of one batch's expected encoded answer, bytes, default what Lambda gives less the envelope. Less: answers that are
    /// larger than expected still fit.
    pub max_response_payload_bytes: u64,
    /// Latency objective, arrival to answer, default 500. It shapes batches and fails nothing. More: fuller batches.
    pub slo_latency_ms: Milliseconds,
    /// Safety margin before a deadline when a batch is closed, default 10. More: fewer late answers, emptier batches.
    pub deadline_margin_ms: Milliseconds,
    /// Upper service time of a warm batch by its fill: pairs of items and milliseconds, ascending; linear between, flat outside.
    /// Default one pair, 1 item and 100 ms. Higher values close batches earlier.
    #[schemars(length(min = 1))]
    pub service_time_upper_ms: Vec<(u32, Milliseconds)>,
    /// Memory of the function behind the default rung, MiB, 128 to 10,240, default 1,769 (one vCPU). Its alias is `mem-<memory_mib>`.
    #[schemars(range(min = 128, max = 10_240))]
    pub memory_mib: u32,
    /// Model processes of the default rung, 1 to 64, default 1. More pays above 1,769 MiB, where one process leaves vCPUs idle.
    #[schemars(range(min = 1, max = 64))]
    pub process_count: u32,
    /// Alias or version of the default rung, default `mem-<memory_mib>`. Empty: the unpublished `$LATEST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// What runs a batch by its real fill, ascending; the last must cover `max_batch_size`. Default: the one rung of
    /// `memory_mib`, `process_count` and `qualifier`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<RungConfig>,
    /// Bounds of retrying.
    pub retry: RetryConfig,
}

/// How waiting items become batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PackingConfig {
    /// No batching.
    None,
    /// In order of arrival.
    Fifo,
    /// Earliest deadline first.
    #[default]
    Deadline,
}

/// Where batches of at most `max_items` items run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RungConfig {
    /// Largest fill that uses this rung, items.
    #[schemars(range(min = 1))]
    pub max_items: u32,
    /// Memory of the function behind it, MiB, 128 to 10,240.
    #[schemars(range(min = 128, max = 10_240))]
    pub memory_mib: u32,
    /// Model processes, 1 to 64, default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub process_count: u32,
    /// Alias or version, default `mem-<memory_mib>`. Empty: `$LATEST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
}

fn one() -> u32 {
    1
}

/// Bounds of retrying. Nothing else retries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Retries per dispatched batch in the long run, 0 to 1, default 0.2. More: more faults are hidden, and a failing Lambda is hit harder.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub budget_ratio: f64,
    /// Retries that are always allowed, per second, 0 or more, default 10. For low traffic, where a ratio allows none.
    #[schemars(range(min = 0.0))]
    pub budget_min_per_second: f64,
    /// Attempts of one batch, the first included, at least 1, default 5.
    #[schemars(range(min = 1))]
    pub max_attempts: u32,
    /// Retries after an unknown outcome (the batch may have run and been billed), 0 or 1, default 1.
    #[schemars(range(min = 0, max = 1))]
    pub max_unknown_outcome_retries: u32,
    /// First back-off, default 50; doubles with each attempt. Less: quicker recovery, more load on a throttled Lambda.
    pub backoff_base_ms: Milliseconds,
    /// Longest back-off, default 2,000.
    pub backoff_max_ms: Milliseconds,
}

impl Default for RetryConfig {
    fn default() -> Self {
        let limits = RetryLimits::default();
        Self {
            budget_ratio: limits.budget_ratio,
            budget_min_per_second: limits.budget_min_per_second,
            max_attempts: limits.max_attempts,
            max_unknown_outcome_retries: limits.max_unknown_outcome_retries,
            backoff_base_ms: Milliseconds::of(limits.backoff_base),
            backoff_max_ms: Milliseconds::of(limits.backoff_max),
        }
    }
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            packing: PackingConfig::Deadline,
            max_batch_size: 32,
            max_queue_delay_ms: Milliseconds::new(20),
            max_in_flight: 100,
            queue_capacity_items: 10_000,
            queue_capacity_bytes: 256 * 1024 * 1024,
            max_request_payload_bytes: (LAMBDA_PAYLOAD_LIMIT_BYTES - REQUEST_ENVELOPE_BYTES) as u64,
            max_response_payload_bytes: (LAMBDA_PAYLOAD_LIMIT_BYTES - RESPONSE_ENVELOPE_BYTES) as u64,
            slo_latency_ms: Milliseconds::new(500),
            deadline_margin_ms: Milliseconds::new(10),
            service_time_upper_ms: vec![(1, Milliseconds::new(100))],
            memory_mib: Mebibytes::PER_VCPU,
            process_count: 1,
            qualifier: None,
            rungs: Vec::new(),
            retry: RetryConfig::default(),
        }
    }
}

fn qualifier(given: Option<&String>, memory_mib: u32) -> String {
    given.cloned().unwrap_or_else(|| format!("mem-{memory_mib}"))
}

impl PlanConfig {
    /// The plan that this describes.
    ///
    /// # Errors
    /// The first value that cannot be served.
    pub fn plan(&self, model: ModelId, revision: PlanRevision) -> Result<ServingPlan, PlanError> {
        let rung = |max_items, memory_mib, process_count, given: Option<&String>| Rung {
            max_items,
            qualifier: qualifier(given, memory_mib),
            memory_mib: Mebibytes(memory_mib),
            process_count,
        };
        let rungs = if self.rungs.is_empty() {
            vec![rung(self.max_batch_size, self.memory_mib, self.process_count, self.qualifier.as_ref())]
        } else {
            let each = self.rungs.iter();
            each.map(|r| rung(r.max_items, r.memory_mib, r.process_count, r.qualifier.as_ref())).collect()
        };
        let points = self.service_time_upper_ms.iter().map(|&(items, ms)| (items, ms.duration())).collect();
        let plan = ServingPlan {
            model,
            revision,
            parent: revision.0.checked_sub(1).filter(|&parent| parent > 0).map(PlanRevision),
            packing: match self.packing {
                PackingConfig::None => PackingPolicy::None,
                PackingConfig::Fifo => PackingPolicy::Fifo,
                PackingConfig::Deadline => PackingPolicy::Deadline,
            },
            max_batch_size: self.max_batch_size,
            max_queue_delay: self.max_queue_delay_ms.duration(),
            max_in_flight: self.max_in_flight,
            queue_capacity_items: self.queue_capacity_items,
            queue_capacity_bytes: self.queue_capacity_bytes,
            max_request_payload_bytes: self.max_request_payload_bytes,
            max_response_payload_bytes: self.max_response_payload_bytes,
            slo_latency: self.slo_latency_ms.duration(),
            deadline_margin: self.deadline_margin_ms.duration(),
            service_time_upper: ServiceTimeTable::new(points)?,
            rungs,
            canary: None,
            hold_out: None,
            environments: None,
            retry: RetryLimits {
                budget_ratio: self.retry.budget_ratio,
                budget_min_per_second: self.retry.budget_min_per_second,
                max_attempts: self.retry.max_attempts,
                max_unknown_outcome_retries: self.retry.max_unknown_outcome_retries,
                backoff_base: self.retry.backoff_base_ms.duration(),
                backoff_max: self.retry.backoff_max_ms.duration(),
            },
        };
        plan.validate()?;
        Ok(plan)
    }
}
