//! Children of one model, looked up once: hot paths add to them without hashing labels.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::ItemFailure;
use gateway_policy::{CloseReason, Rejection, RetryReason};
use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge};

use super::Catalogue;

/// One model's metrics.
#[derive(Debug)]
pub struct ModelMetrics {
    catalogue: Arc<Catalogue>,
    model: String,
    pub(crate) queue_wait: Histogram,
    pub(crate) queue_items: IntGauge,
    pub(crate) queue_bytes: IntGauge,
    pub(crate) queue_oldest_age: Gauge,
    pub(crate) batch_items: Histogram,
    pub(crate) batch_bytes: Histogram,
    pub(crate) batch_oldest_wait: Histogram,
    pub(crate) environment_wait: Histogram,
    pub(crate) invocations_in_flight: IntGauge,
    pub(crate) in_flight_window: IntGauge,
    pub(crate) bisections: IntCounter,
    pub(crate) cancelled_in_queue: IntCounter,
    billed: Counter,
    gb_seconds: Counter,
    init: Histogram,
    cold_starts: IntCounter,
    report_missing: IntCounter,
    compute: Counter,
    process_restarts: IntCounter,
    duration_usd: Counter,
    request_usd: Counter,
    warm_up_usd: Counter,
    estimated_usd: Counter,
}

/// What one invocation adds to the meters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InvocationMeters {
    /// Billed duration.
    pub billed: Duration,
    /// Billed duration × memory.
    pub gb_seconds: f64,
    /// Dollars of the duration.
    pub duration_usd: f64,
    /// Dollars of the request fee.
    pub request_usd: f64,
    /// The billed duration is an estimate.
    pub is_estimate: bool,
    /// INIT, if the sandbox was started for it.
    pub init: Option<Duration>,
    /// Whether the sandbox was started for it.
    pub cold: bool,
    /// Wall time inside model processes, summed.
    pub compute_sum: Duration,
    /// Replaced processes.
    pub process_restarts: u32,
    /// Largest memory that the sandbox reported, bytes; 0: not reported.
    pub max_memory_used_bytes: u64,
    /// Memory of the version that ran, bytes.
    pub memory_size_bytes: u64,
}

impl ModelMetrics {
    /// Looks up the children of `model`.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, model: &str) -> Self {
        let c = &catalogue;
        let labels = &[model];
        Self {
            queue_wait: c.queue_wait.with_label_values(labels),
            queue_items: c.queue_items.with_label_values(labels),
            queue_bytes: c.queue_bytes.with_label_values(labels),
            queue_oldest_age: c.queue_oldest_age.with_label_values(labels),
            batch_items: c.batch_items.with_label_values(labels),
            batch_bytes: c.batch_bytes.with_label_values(labels),
            batch_oldest_wait: c.batch_oldest_wait.with_label_values(labels),
            environment_wait: c.environment_wait.with_label_values(labels),
            invocations_in_flight: c.invocations_in_flight.with_label_values(labels),
            in_flight_window: c.in_flight_window.with_label_values(labels),
            bisections: c.bisections.with_label_values(labels),
            cancelled_in_queue: c.cancelled_in_queue.with_label_values(labels),
            billed: c.lambda_billed.with_label_values(labels),
            gb_seconds: c.lambda_gb_seconds.with_label_values(labels),
            init: c.lambda_init.with_label_values(labels),
            cold_starts: c.lambda_cold_starts.with_label_values(labels),
            report_missing: c.report_missing.with_label_values(labels),
            compute: c.worker_compute.with_label_values(labels),
            process_restarts: c.worker_restarts.with_label_values(labels),
            duration_usd: c.cost_usd.with_label_values(&[model, "lambda_duration"]),
            request_usd: c.cost_usd.with_label_values(&[model, "lambda_requests"]),
            warm_up_usd: c.cost_usd.with_label_values(&[model, "lambda_warm_up"]),
            estimated_usd: c.cost_estimated_usd.with_label_values(labels),
            model: model.to_owned(),
            catalogue,
        }
    }

    /// The model's name.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// All families.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Counts a request that was not admitted.
    pub fn rejected(&self, rejection: Rejection) {
        let reason = match rejection {
            Rejection::UnknownModel => "unknown_model",
            Rejection::InvalidRequest => "invalid_request",
            Rejection::QueueFull { .. } => "queue_full",
            Rejection::ItemTooLarge { .. } => "item_too_large",
            Rejection::DeadlineUnreachable => "deadline_unreachable",
            Rejection::Draining => "draining",
        };
        self.catalogue.admission_rejected.with_label_values(&[&*self.model, reason]).inc();
    }

    /// Counts an invocation that ended.
    pub fn invoked(&self, qualifier: &str, outcome: &str, duration: Duration) {
        self.catalogue.invocations.with_label_values(&[&*self.model, qualifier, outcome]).inc();
        self.catalogue
            .invoke_duration
            .with_label_values(&[&*self.model, qualifier])
            .observe(duration.as_secs_f64());
    }

    /// Counts what an invocation that ran was billed and did.
    pub fn metered(&self, qualifier: &str, meters: &InvocationMeters) {
        self.billed.inc_by(meters.billed.as_secs_f64());
        self.gb_seconds.inc_by(meters.gb_seconds);
        self.duration_usd.inc_by(meters.duration_usd);
        self.request_usd.inc_by(meters.request_usd);
        self.compute.inc_by(meters.compute_sum.as_secs_f64());
        self.process_restarts.inc_by(u64::from(meters.process_restarts));
        if meters.is_estimate {
            self.report_missing.inc();
            self.estimated_usd.inc_by(meters.duration_usd);
        }
        if meters.cold {
            self.cold_starts.inc();
        }
        if let Some(init) = meters.init {
            self.init.observe(init.as_secs_f64());
        }
        let set = |family: &prometheus::IntGaugeVec, bytes: u64| {
            if bytes > 0 {
                family
                    .with_label_values(&[&*self.model, qualifier])
                    .set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        };
        set(&self.catalogue.lambda_max_memory_used, meters.max_memory_used_bytes);
        set(&self.catalogue.lambda_memory_size, meters.memory_size_bytes);
    }

    /// Counts a no-op call of the engine, at this price.
    pub fn called(&self, purpose: &'static str, outcome: &'static str, usd: f64) {
        self.catalogue.no_op_calls.with_label_values(&[&*self.model, purpose, outcome]).inc();
        self.warm_up_usd.inc_by(usd);
    }

    /// Counts items that ended without a value.
    pub fn item_failed(&self, failure: ItemFailure) {
        self.catalogue.item_errors.with_label_values(&[&*self.model, failure_label(failure)]).inc();
    }
}

/// Label of an item's failure.
#[must_use]
pub const fn failure_label(failure: ItemFailure) -> &'static str {
    match failure {
        ItemFailure::InvalidInput => "invalid_input",
        ItemFailure::ModelFailed => "model_failed",
        ItemFailure::ProcessDied => "process_died",
        ItemFailure::ProcessHung => "process_hung",
        ItemFailure::OutOfMemory => "out_of_memory",
        ItemFailure::DeadlineExceeded => "deadline_exceeded",
        ItemFailure::FunctionError => "function_error",
        ItemFailure::Throttled => "throttled",
        ItemFailure::UnknownOutcome => "unknown_outcome",
        ItemFailure::Refused => "refused",
        ItemFailure::ResponseTooLarge => "response_too_large",
        ItemFailure::RequestTooLarge => "request_too_large",
    }
}

/// Label of a close reason.
#[must_use]
pub const fn close_label(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Full => "full",
        CloseReason::Bytes => "bytes",
        CloseReason::Delay => "delay",
        CloseReason::Deadline => "deadline",
        CloseReason::Immediate => "immediate",
        CloseReason::Drain => "drain",
        CloseReason::Retry => "retry",
        CloseReason::Bisect => "bisect",
    }
}

/// Label of a retry reason.
#[must_use]
pub const fn retry_label(reason: RetryReason) -> &'static str {
    match reason {
        RetryReason::Throttled => "throttled",
        RetryReason::UnknownOutcome => "unknown_outcome",
        RetryReason::Unreachable => "unreachable",
    }
}
