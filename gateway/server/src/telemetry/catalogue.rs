//! Every metric of the gateway, with its labels and meaning. Names: `penstock_<name>_<unit>[_total]`.
//!
//! A new metric is one entry here. Label sets are closed: model names and qualifiers come from the configuration, all others
//! from enums.

use std::time::Instant;

use prometheus::{
    CounterVec, Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::limiter::{Repeated, RepeatedFailures};

/// Latency buckets, seconds: 250 µs to 60 s.
const LATENCY_SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// Overhead buckets, seconds: 25 µs to 100 ms. The aim is below 1 ms.
const OVERHEAD_SECONDS: &[f64] =
    &[0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1];
/// INIT buckets, seconds: 10 ms to the 10 s after which Lambda starts INIT again, and beyond.
const INIT_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// Job buckets, seconds: 1 s to 7 days.
const JOB_SECONDS: &[f64] =
    &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0];
/// Batch sizes, items.
const ITEMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
/// Batch sizes, bytes: 256 B to the 6 MiB payload limit.
const BYTES: &[f64] = &[
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    6_291_456.0,
];

/// What is said of a family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// With the prefix.
    pub name: &'static str,
    /// As in the macro below.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($( $field:ident: $kind:ident $name:literal [$($label:literal),*] $(buckets $buckets:ident)? $help:literal; )*) => {
        /// All metric families. Cheap to share behind an `Arc`; hot paths cache children in [`crate::telemetry::ModelMetrics`].
        #[derive(Debug)]
        pub struct Catalogue {
            /// Where the families are registered.
            pub registry: Registry,
            /// Which repeated failures were logged; what was not is counted.
            pub(crate) failures: RepeatedFailures,
            $( #[doc = $help] pub $field: catalogue!(@type $kind), )*
        }

        impl Catalogue {
            /// All of them, in the order of this file.
            pub const FAMILIES: &'static [Family] = &[$( Family {
                name: concat!("penstock_", $name),
                kind: stringify!($kind),
                labels: &[$($label),*],
                help: $help,
            }, )*];

            /// Registers every family.
            ///
            /// # Errors
            /// When two entries have one name, or a name or label is malformed: a mistake in this file.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let $field = catalogue!(@new $kind, concat!("penstock_", $name), $help, &[$($label),*] $(, $buckets)?);
                    registry.register(Box::new($field.clone()))?;
                )*
                Ok(Self { registry, failures: RepeatedFailures::default(), $( $field, )* })
            }
        }
    };
    (@type counter) => { IntCounterVec };
    (@type plain_counter) => { IntCounter };
    (@type float_counter) => { CounterVec };
    (@type gauge) => { IntGaugeVec };
    (@type plain_gauge) => { IntGauge };
    (@type float_gauge) => { GaugeVec };
    (@type histogram) => { HistogramVec };
    (@new counter, $name:expr, $help:expr, $labels:expr) => { IntCounterVec::new(Opts::new($name, $help), $labels)? };
    (@new plain_counter, $name:expr, $help:expr, $labels:expr) => { IntCounter::new($name, $help)? };
    (@new float_counter, $name:expr, $help:expr, $labels:expr) => { CounterVec::new(Opts::new($name, $help), $labels)? };
    (@new gauge, $name:expr, $help:expr, $labels:expr) => { IntGaugeVec::new(Opts::new($name, $help), $labels)? };
    (@new plain_gauge, $name:expr, $help:expr, $labels:expr) => { IntGauge::new($name, $help)? };
    (@new float_gauge, $name:expr, $help:expr, $labels:expr) => { GaugeVec::new(Opts::new($name, $help), $labels)? };
    (@new histogram, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), $labels)?
    };
}

catalogue! {
    requests: counter "requests_total" ["model", "code", "class"] "Answered inference requests by error code (ok: none) and status class.";
    tenant_requests: counter "tenant_requests_total" ["tenant", "model"] "Answered inference requests by tenant, where `[tenants]` names some.";
    tenant_cost_usd: float_counter "tenant_cost_usd_total" ["tenant", "model"] "Dollars of their shares of the invocations that they rode on; in cost_usd too. No-op calls and abandoned requests are nobody's.";
    requests_cancelled: counter "requests_cancelled_total" ["model"] "Inference requests given up by their client.";
    request_duration: histogram "request_duration_seconds" ["model"] buckets LATENCY_SECONDS "Request head read to answer handed over.";
    gateway_overhead: histogram "gateway_overhead_seconds" ["model"] buckets OVERHEAD_SECONDS "Request duration less queue wait less invocation.";
    queue_wait: histogram "queue_wait_seconds" ["model"] buckets LATENCY_SECONDS "Arrival of a request to dispatch of its last part.";
    queue_items: gauge "queue_items" ["model"] "Items that wait in the queue.";
    queue_bytes: gauge "queue_bytes" ["model"] "Encoded bytes that wait in the queue.";
    queue_oldest_age: float_gauge "queue_oldest_age_seconds" ["model"] "Age of the oldest waiting item.";
    requests_in_flight: plain_gauge "requests_in_flight" [] "Admitted requests without an answer.";
    admission_rejected: counter "admission_rejected_total" ["model", "reason"] "Requests that were not admitted.";
    batch_items: histogram "batch_items" ["model"] buckets ITEMS "Items of a batch when it closed.";
    batch_bytes: histogram "batch_bytes" ["model"] buckets BYTES "Encoded bytes of a batch when it closed.";
    batch_oldest_wait: histogram "batch_oldest_wait_seconds" ["model"] buckets LATENCY_SECONDS "Wait of the oldest item of a batch when it closed.";
    environment_wait: histogram "batch_environment_wait_seconds" ["model"] buckets LATENCY_SECONDS "Wait of a batch that was due for an execution environment at work, instead of starting another one; batches that waited only.";
    batches_dispatched: counter "batches_dispatched_total" ["model", "reason"] "Batches by the reason for which they closed.";
    invocations: counter "invocations_total" ["model", "qualifier", "outcome"] "Invocations by outcome.";
    throttled: counter "invocations_throttled_total" ["model", "reason"] "Throttled invocations by the limit that Lambda named.";
    invocations_in_flight: gauge "invocations_in_flight" ["model"] "Invocations without an outcome.";
    in_flight_window: gauge "in_flight_window_invocations" ["model"] "Bound of parallel invocations that the engine allows now.";
    invoke_duration: histogram "invoke_duration_seconds" ["model", "qualifier"] buckets LATENCY_SECONDS "Dispatch of a batch to its outcome.";
    lambda_billed: float_counter "lambda_billed_seconds_total" ["model"] "Billed duration of invocations.";
    lambda_gb_seconds: float_counter "lambda_gigabyte_seconds_total" ["model"] "Billed duration times memory in GiB.";
    lambda_init: histogram "lambda_init_seconds" ["model"] buckets INIT_SECONDS "INIT duration of cold starts.";
    lambda_cold_starts: counter "lambda_cold_starts_total" ["model"] "Invocations that started a sandbox.";
    lambda_max_memory_used: gauge "lambda_max_memory_used_bytes" ["model", "qualifier"] "Largest memory that a sandbox reported.";
    lambda_memory_size: gauge "lambda_memory_size_bytes" ["model", "qualifier"] "Memory of the function version that ran last.";
    report_missing: counter "report_parse_failures_total" ["model"] "Invocations without a readable REPORT line: their cost is an estimate.";
    worker_compute: float_counter "worker_compute_seconds_total" ["model"] "Wall time inside model processes, summed over processes.";
    worker_restarts: counter "worker_process_restarts_total" ["model"] "Model processes that a worker replaced.";
    item_errors: counter "item_errors_total" ["model", "code"] "Items that ended without a value.";
    bisections: counter "bisections_total" ["model"] "Failed batches that were cut in two.";
    retries: counter "retries_total" ["model", "reason"] "Batches that went out again.";
    retries_denied: counter "retries_denied_total" ["model", "reason"] "Retries that budget, attempts or time forbade.";
    duplicates_suppressed: plain_counter "duplicates_suppressed_total" [] "Outcomes for batches or items that already had one.";
    cancelled_in_queue: counter "cancelled_in_queue_total" ["model"] "Requests that left before they were packed.";
    deadlines_exceeded: counter "deadlines_exceeded_total" ["model", "place"] "Requests whose hard deadline passed, in the queue or in flight.";
    cost_usd: float_counter "cost_usd_total" ["model", "component"] "Dollars of Lambda, by list price; the gateway's own host under model `_gateway`.";
    cost_estimated_usd: float_counter "cost_estimated_usd_total" ["model"] "The part of the Lambda dollars that is estimated from wall time.";
    price_info: float_gauge "price_info" ["component", "architecture"] "Prices in force: dollars per GB-second, per million requests, per hour.";
    savings_usd: float_gauge "savings_usd" ["model", "component"] "Dollars saved since the start against each request alone on its cheapest memory, by formula (`unbatched`), less what Lambda (`lambda`) and, under model `_gateway`, the host (`gateway_host`) cost; the sum over components is the net saving.";
    plan_revision: gauge "plan_revision" ["model"] "Revision of the plan in force.";
    plan_max_batch_size: gauge "plan_max_batch_size_items" ["model"] "Size bound of a batch under the plan in force.";
    plan_max_queue_delay: float_gauge "plan_max_queue_delay_seconds" ["model"] "Longest wait under the plan in force.";
    plan_memory: gauge "plan_memory_bytes" ["model"] "Memory that runs a full batch under the plan in force.";
    plan_processes: gauge "plan_processes" ["model"] "Model processes that run a full batch under the plan in force.";
    plan_rungs: gauge "plan_rungs" ["model"] "Operating points by fill of the plan in force.";
    plan_canary_share: float_gauge "plan_canary_ratio" ["model"] "Share of batches that run on the plan's canary.";
    plan_predicted_usd: float_gauge "plan_predicted_cost_usd_per_million" ["model"] "Expected dollars per million requests under the plan in force and the present load.";
    plan_realised_usd: float_gauge "plan_realised_cost_usd_per_million" ["model"] "Measured dollars per million answered requests since the plan in force began.";
    plan_predicted_latency: float_gauge "plan_predicted_latency_seconds" ["model"] "Expected latency at the objective's percentile.";
    unbatched_usd: float_gauge "unbatched_cost_usd_per_million" ["model", "basis"] "Dollars per million requests of the same load unbatched: by formula (`formula`), and by measurement on the items that run alone (`measured`).";
    savings_ratio: float_gauge "savings_ratio" ["model", "basis"] "Share that batching saves of the unbatched cost since the plan in force began, Lambda's bill only, against the unbatched cost by formula and as measured.";
    hold_out_usd: float_counter "hold_out_cost_usd_total" ["model"] "Dollars of items that ran alone to measure what batching saves; part of the cost.";
    plan_realised_latency: float_gauge "plan_realised_latency_seconds" ["model"] "Latency at the objective's percentile in the last window with answers.";
    plan_predicted_late: float_gauge "plan_predicted_late_ratio" ["model"] "Share of requests expected outside the latency objective.";
    plan_realised_late: float_gauge "plan_realised_late_ratio" ["model"] "Share of requests answered outside the latency objective since the plan in force began.";
    plan_switches: counter "plan_switches_total" ["model", "reason"] "Plans put into force by the control loop.";
    plan_rollbacks: counter "plan_rollbacks_total" ["model", "reason"] "Plans given up.";
    plan_fallbacks: counter "plan_fallbacks_total" ["model", "reason"] "Returns to a plan that is safe without what was learned.";
    trials: counter "trials_total" ["model", "event"] "Trials begun, and ended by verdict.";
    change_points: counter "changepoints_total" ["model", "direction"] "Changes of the load.";
    exploration_usd: float_counter "exploration_usd_total" ["model"] "Dollars that exploration has cost beyond the plan in force.";
    drift_factor: float_gauge "service_time_drift_ratio" ["model"] "Present service times over the learned ones.";
    load_dispersion: float_gauge "load_dispersion_ratio" ["model"] "Variance over mean of requests per window.";
    load_rate: float_gauge "load_requests_per_second" ["model"] "Arrival rate of the present regime.";
    decision_seconds: histogram "control_decision_seconds" ["model"] buckets OVERHEAD_SECONDS "One window's whole decision.";
    observations_dropped: plain_counter "control_observations_dropped_total" [] "Observations that the control loop was too slow to take.";
    control_restarts: plain_counter "control_restarts_total" [] "Restarts of the control loop or of one model's tuner after a panic.";
    no_op_calls: counter "control_calls_total" ["model", "purpose", "outcome"] "No-op invocations: `warm_up` before a switch of sizes, `probe`, `start` of an environment beside batches that wait, `keep` of an idle one.";
    state_saves: counter "state_saves_total" ["result"] "Writes of learned state.";
    state_copies: counter "state_copies_total" ["result"] "Writes of the copy of the learned state in another store.";
    driver_restarts: plain_counter "driver_restarts_total" [] "Restarts of the driver task after a panic.";
    batch_panics: plain_counter "batch_task_panics_total" [] "Batch tasks that panicked.";
    connections_open: plain_gauge "connections_open" [] "Open client connections.";
    connections_opened: plain_counter "connections_opened_total" [] "Accepted client connections.";
    connections_refused: plain_counter "connections_refused_total" [] "Client connections refused because too many are open.";
    accept_failures: plain_counter "accept_failures_total" [] "Failed accepts, for example for want of descriptors.";
    handler_panics: plain_counter "handler_panics_total" [] "Request handlers that panicked.";
    job_active: gauge "job_active_jobs" ["state"] "Bulk jobs that have not ended, by state.";
    job_ends: counter "job_ends_total" ["model", "state"] "Bulk jobs that ended, by their last state.";
    job_duration: histogram "job_duration_seconds" ["model", "state"] buckets JOB_SECONDS "Creation of a bulk job to its end.";
    job_cancellations: counter "job_cancellations_total" ["phase"] "Bulk jobs that were asked to be cancelled, by the state that they were in.";
    job_lines: counter "job_lines_total" ["model", "outcome"] "Lines of bulk jobs that got an answer (completed) or none (failed).";
    job_items: counter "job_items_total" ["model"] "Items of bulk jobs that were answered.";
    job_cost_usd: float_counter "job_cost_usd_total" ["model"] "Dollars of bulk jobs, by list price; in cost_usd too, as `lambda_bulk`.";
    job_billed: float_counter "job_billed_seconds_total" ["model"] "Billed duration of bulk jobs.";
    job_gb_seconds: float_counter "job_gigabyte_seconds_total" ["model"] "Billed duration of bulk jobs times memory in GiB.";
    job_invocations: counter "job_invocations_total" ["model"] "Billed invocations of bulk jobs.";
    job_throttled: counter "job_invocations_throttled_total" ["model"] "Invocations of bulk jobs that Lambda throttled.";
    job_in_flight: plain_gauge "job_invocations_in_flight" [] "Invocations of bulk jobs without an outcome.";
    job_allowed: plain_gauge "job_allowed_invocations" [] "Invocations that bulk jobs may have in flight beside live traffic now.";
    job_share: gauge "job_share_info" ["state"] "Why bulk jobs may have as many: left by live traffic, weight, risk, starved; the one in force has value 1.";
    trace_spans_exported: plain_counter "trace_spans_exported_total" [] "Spans that the collector of traces took.";
    trace_spans_dropped: counter "trace_spans_dropped_total" ["reason"] "Spans that did not reach the collector: queue_full, export_failed, rejected by it, or stopped.";
    log_lines_suppressed: counter "log_lines_suppressed_total" ["level"] "Repeated log lines that were not written; lines with their number were.";
    config_reloads: counter "config_reloads_total" ["result"] "Reloads of the configuration.";
    config_last_reload_successful: plain_gauge "config_last_reload_successful" [] "Whether the last load of the configuration succeeded.";
    config_last_reload_success: plain_gauge "config_last_reload_success_timestamp_seconds" [] "When the configuration in force was loaded.";
    config_info: gauge "config_info" ["hash"] "The configuration in force; value 1.";
    build_info: gauge "build_info" ["version"] "This build; value 1.";
}

impl Catalogue {
    /// Whether to log a failure now, or only to count it: what happened, of which kind, to which model.
    pub fn note_failure(&self, what: &'static str, kind: &'static str, model: &str) -> Repeated {
        let told = self.failures.note(Instant::now(), what, kind, model);
        if told == Repeated::Suppress {
            self.log_lines_suppressed.with_label_values(&["warn"]).inc();
        }
        told
    }

    /// The text format of Prometheus, version 0.0.4, with the process metrics appended.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = Vec::with_capacity(64 * 1024);
        // Encoding into memory fails only on families that break the format, which `new` has ruled out by registering them.
        if TextEncoder::new().encode(&self.registry.gather(), &mut text).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        let mut text = String::from_utf8(text).unwrap_or_default();
        super::process::append(&mut text);
        text
    }
}
