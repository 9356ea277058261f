//! The metrics: every one is moved by something, and the text is what Prometheus reads.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{BatchId, ItemFailure, ModelId, WindowStats};
use gateway_policy::share::{Share, ShareState};
use gateway_policy::{CloseReason, Event, Rejection, RetryReason};
use gateway_server::config::PlanConfig;
use gateway_server::http::{HttpTelemetry, RequestRecord};
use gateway_server::inference::Receipt;
use gateway_server::telemetry::catalogue::Family;
use gateway_server::telemetry::control::Fallback;
use gateway_server::telemetry::model::InvocationMeters;
use gateway_server::telemetry::{
    Catalogue, ControlMetrics, HttpMetrics, JobMetrics, ModelMetrics, Tenants, record_event,
};
use optimizer_tuner::event::{
    Candidate, Expectation, PointSummary, RollbackReason, SwitchReason, TrialVerdict,
};
use optimizer_tuner::report::{LoadReport, RealisedReport};
use optimizer_tuner::{TunerAction, TunerReport};

/// Metrics that only a running gateway moves, and the tests that show it.
const MOVED_ELSEWHERE: &[&str] = &[
    "penstock_requests_in_flight",            // faults: a_client_that_leaves…
    "penstock_queue_items",                   // driver: a_dropped_request_leaves_the_queue
    "penstock_queue_bytes",                   // the same
    "penstock_queue_oldest_age_seconds",      // the same
    "penstock_queue_wait_seconds",            // driver: every answer
    "penstock_invocations_in_flight",         // driver: a_panic_of_a_batch_task…
    "penstock_invocations_throttled_total",   // faults: a_429_storm…
    "penstock_driver_restarts_total",         // driver: a_panic_of_the_driver…
    "penstock_batch_task_panics_total",       // driver: a_panic_of_a_batch_task…
    "penstock_config_reloads_total",          // faults: a_reload_under_load…
    "penstock_config_last_reload_successful", // the same
    "penstock_config_last_reload_success_timestamp_seconds", // the same
    "penstock_config_info",                   // the same
    "penstock_build_info",                    // set once at the start
    "penstock_price_info",                    // set at the start and by reloads
    "penstock_control_observations_dropped_total", // driver: the_oldest_go_first_and_are_counted
    "penstock_control_restarts_total",        // control: a_panic_of_a_tuner…
    "penstock_state_saves_total",             // control: state_is_written_while_it_changes…
    "penstock_state_copies_total",            // control: a_new_host_goes_on_with_the_copy
    "penstock_trace_spans_exported_total",    // traces: a_batch_and_its_requests_link_to_each_other
    "penstock_trace_spans_dropped_total",     // traces: a_dead_collector_costs_spans_and_no_request
];

fn candidate() -> Candidate {
    let point = PointSummary { max_batch_size: 4, max_queue_delay_ms: 10.0, rungs: vec![(4, 1024, 1)] };
    let expected = Expectation {
        usd_per_million: 3.0,
        latency_ms: 80.0,
        late_share: 0.001,
        mean_fill: 2.0,
        concurrency: 1.0,
        ln_cost_std: 0.01,
    };
    Candidate { point, expected }
}

fn move_control(catalogue: &Arc<Catalogue>) {
    let control = ControlMetrics::new(catalogue.clone(), "m");
    let mut plan = PlanConfig::default()
        .plan(ModelId(0), gateway_contract::PlanRevision(2))
        .expect("the defaults are a plan");
    let rung = plan.rungs[0].clone();
    plan.canary = Some(gateway_contract::Canary { rung, every: 10 });
    control.plan(&plan);
    let change_point = TunerAction::ChangePoint {
        windows_ago: 1,
        before_per_s: 5.0,
        after_per_s: 60.0,
        after_standard_error_per_s: 3.0,
        probability: 0.999,
    };
    let switched = TunerAction::Switched {
        revision: 2,
        reason: SwitchReason::ChangePoint,
        chosen: candidate(),
        before: None,
        runner_up: None,
    };
    let ended = TunerAction::TrialEnded {
        trial: 1,
        verdict: TrialVerdict::Vetoed,
        batches: 12,
        usd_per_million: None,
    };
    let given_up = TunerAction::RolledBack {
        from: 2,
        to: 3,
        reason: RollbackReason::Late,
        late_share: 0.2,
        requests: 50,
    };
    for action in [change_point, switched, ended, given_up, TunerAction::Blind { windows: 60 }] {
        control.acted(&action);
    }
    control.fell_back(Fallback::AliasMissing);
    control.explored(0.01);
    control.called("warm_up", "ok", 1e-6);
    let report = TunerReport {
        incumbent: Some(candidate()),
        realised: RealisedReport { requests: 10, usd_per_million: 3.1, late_share: 0.01, mean_fill: 2.0 },
        load: LoadReport { requests_per_s: 60.0, dispersion: 1.5, ..LoadReport::default() },
        drift_factor: 1.02,
        unbatched_usd_per_million: Some(6.0),
        measured_unbatched_usd_per_million: Some(6.2),
        ..TunerReport::default()
    };
    control.report(&report);
    control.decided(Duration::from_micros(300));
    let stats = WindowStats {
        answered: 1_000_000,
        cost_usd: 3.0,
        hold_out_cost_usd: 0.01,
        latency_at_percentile: Some(Duration::from_millis(90)),
        ..WindowStats::default()
    };
    control.window(&stats, Some(6.0));
}

fn move_jobs(catalogue: &Arc<Catalogue>) {
    let jobs = JobMetrics::new(catalogue.clone());
    jobs.active("in_progress", 1);
    jobs.ended("m", "completed", Duration::from_secs(40));
    jobs.cancelled("in_progress");
    jobs.lines("m", 10, 1, 10);
    jobs.billed("m", 2, 1e-5, Duration::from_secs(1), 1.7);
    jobs.throttled("m", 1);
    jobs.share(Share { allowed: 7, state: ShareState::Left }, 3);
}

fn move_everything(catalogue: &Arc<Catalogue>) {
    move_control(catalogue);
    move_jobs(catalogue);
    let model = ModelMetrics::new(catalogue.clone(), "m");
    let id = ModelId(0);
    for event in [
        Event::BatchClosed {
            batch: BatchId(1),
            model: id,
            items: 3,
            bytes: 300,
            reason: CloseReason::Full,
            oldest_wait: Duration::from_millis(5),
        },
        Event::Retried { model: id, reason: RetryReason::Throttled },
        Event::RetryDenied { model: id, reason: RetryReason::Unreachable },
        Event::Bisected { model: id, items: 3 },
        Event::DuplicateSuppressed,
        Event::CancelledInQueue { model: id },
        Event::DeadlineExceeded { model: id, in_queue: true },
        Event::WaitedForEnvironment { model: id, items: 3, waited: Duration::from_millis(80) },
        Event::WindowChanged { model: id, window: 7 },
    ] {
        record_event(catalogue, &event, |_| Some(&model));
    }
    model.called("keep", "ok", 1e-7);
    model.rejected(Rejection::Draining);
    model.item_failed(ItemFailure::ModelFailed);
    model.invoked("mem-1024", "ok", Duration::from_millis(20));
    model.metered(
        "mem-1024",
        &InvocationMeters {
            billed: Duration::from_millis(20),
            gb_seconds: 0.02,
            duration_usd: 1e-6,
            request_usd: 2e-7,
            is_estimate: true,
            init: Some(Duration::from_millis(100)),
            cold: true,
            compute_sum: Duration::from_millis(15),
            process_restarts: 1,
            max_memory_used_bytes: 1 << 20,
            memory_size_bytes: 1 << 30,
        },
    );
    for _ in 0..2 {
        catalogue.note_failure("invocation failed", "throttled", "m");
    }
    let tenants = Tenants {
        header: axum::http::HeaderName::from_static("x-tenant"),
        names: ["search".to_owned()].into(),
    };
    let http = HttpMetrics::new(catalogue.clone(), Some(tenants));
    http.connection_opened();
    http.connection_refused();
    http.accept_failed(&std::io::Error::other("full"));
    http.handler_panicked();
    http.request_cancelled(Some("m"));
    http.request_finished(&RequestRecord {
        model: Some("m"),
        headers: &axum::http::HeaderMap::new(),
        status: 200,
        code: "ok",
        items: 1,
        duration: Duration::from_millis(30),
        decode: Duration::ZERO,
        encode: Duration::ZERO,
        receipt: Some(Receipt { cost_usd: 1e-6, ..Receipt::default() }),
        trace: None,
    });
}

/// Samples by family: histograms count by their `_count`.
fn moved(text: &str, name: &str) -> bool {
    text.lines().filter(|line| !line.starts_with('#')).any(|line| {
        let Some((series, value)) = line.rsplit_once(' ') else {
            return false;
        };
        let family = series.split('{').next().unwrap_or(series);
        (family == name || family.strip_suffix("_count") == Some(name))
            && value.parse::<f64>().is_ok_and(|value| value > 0.0)
    })
}

#[test]
fn every_metric_is_moved_by_something() {
    let catalogue = Arc::new(Catalogue::new().unwrap());
    move_everything(&catalogue);
    let text = catalogue.encode();
    for Family { name, .. } in Catalogue::FAMILIES {
        assert!(moved(&text, name) || MOVED_ELSEWHERE.contains(name), "`{name}` is never moved");
    }
    for name in MOVED_ELSEWHERE {
        assert!(
            Catalogue::FAMILIES.iter().any(|family| family.name == *name),
            "`{name}` is not in the catalogue"
        );
    }
}

#[test]
fn names_carry_units_and_counters_end_in_total() {
    const UNITS: &[&str] = &[
        "_seconds",
        "_bytes",
        "_items",
        "_usd",
        "_total",
        "_info",
        "_invocations",
        "_successful",
        "_ratio",
        "_revision",
        "_processes",
        "_rungs",
        "_usd_per_million",
        "_requests_per_second",
        "_in_flight",
        "_open",
        "_jobs",
    ];
    let catalogue = Arc::new(Catalogue::new().unwrap());
    move_everything(&catalogue);
    for family in catalogue.registry.gather() {
        let name = family.name();
        assert!(
            name.starts_with("penstock_") && UNITS.iter().any(|unit| name.ends_with(unit)),
            "`{name}` names no unit"
        );
        let is_counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
        assert_eq!(is_counter, name.ends_with("_total"), "`{name}`");
    }
}

#[test]
fn the_text_is_the_exposition_format() {
    let catalogue = Arc::new(Catalogue::new().unwrap());
    move_everything(&catalogue);
    let text = catalogue.encode();
    let mut announced = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(announced.insert(name.to_owned()), "`{name}` is announced twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            assert!(value.parse::<f64>().is_ok() || value == "+Inf", "{line}");
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(
                announced.contains(name) || family.is_some_and(|family| announced.contains(family)),
                "{line}"
            );
            assert!(!series.contains('{') || series.ends_with('}'), "{line}");
        }
    }
    assert!(text.contains("process_resident_memory_bytes") && text.contains("process_open_fds"));
    assert!(text.ends_with('\n'));
}
