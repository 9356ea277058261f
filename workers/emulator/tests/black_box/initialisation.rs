//! INIT: its limit, its second try, its failures.

use crate::support::{Local, absent, report_value};
use serde_json::json;

#[test]
fn init_is_measured_and_billed() {
    let local = Local::start("environment = { PROBE_INIT_MS = '300' }");
    let tail = local.invoke(json!({})).tail();
    let (init, billed) =
        (report_value(&tail, "Init Duration").unwrap(), report_value(&tail, "Billed Duration").unwrap());
    assert!((300.0..2000.0).contains(&init) && billed >= init, "{tail}");
}

#[test]
fn an_init_over_its_limit_runs_again_inside_the_invocation() {
    let local = Local::start("environment = { PROBE_INIT_MS = '700' }\n[lifecycle]\ninit_limit_ms = 300");
    let got = local.invoke(json!({ "x": 1 }));
    assert_eq!(got.json(), json!({ "x": 1 }), "{}", got.text);
    let tail = got.tail();
    assert!(
        tail.contains("INIT_REPORT Init Duration: 30") && tail.contains("Phase: init\tStatus: timeout"),
        "{tail}"
    );
    assert!(report_value(&tail, "Init Duration").is_none(), "{tail}");
    let duration = report_value(&tail, "Duration").unwrap();
    assert!(duration >= 700.0, "the second INIT is part of the duration: {tail}");
    assert!(
        report_value(&tail, "Billed Duration").unwrap() >= duration + 299.0,
        "the first is billed too: {tail}"
    );
}

#[test]
fn a_second_init_is_under_the_functions_timeout() {
    let local = Local::start(
        "timeout_seconds = 1\nenvironment = { PROBE_INIT_MS = '5000' }\n[lifecycle]\ninit_limit_ms = 200",
    );
    let got = local.invoke(json!({}));
    assert_eq!(got.json()["errorType"], "Sandbox.Timedout");
    assert!(got.text.contains("Task timed out after 1.00 seconds"), "{}", got.text);
}

#[test]
fn an_init_that_succeeds_the_second_time_serves() {
    let marker = absent();
    let local = Local::start(&format!(
        "environment = {{ PROBE_INIT_MS = '60000', PROBE_INIT_MARKER = '{}' }}\n[lifecycle]\ninit_limit_ms = 300",
        marker.display()
    ));
    let got = local.invoke(json!({ "x": 1 }));
    std::fs::remove_file(marker).unwrap();
    assert_eq!(got.json(), json!({ "x": 1 }), "{}", got.text);
}

#[test]
fn a_bootstrap_that_exits_in_init_is_tried_twice_and_reported() {
    let local = Local::start("environment = { PROBE_INIT_EXIT = '7' }");
    let got = local.invoke(json!({}));
    assert_eq!((got.status, got.header("x-amz-function-error")), (200, Some("Unhandled")));
    assert_eq!(got.json()["errorType"], "Runtime.ExitError");
    assert!(got.text.contains("exit status 7"), "{}", got.text);
    assert!(
        got.tail().contains("Phase: init\tStatus: error\tError Type: Runtime.ExitError"),
        "{}",
        got.tail()
    );
}

#[test]
fn a_reported_init_error_is_the_answer() {
    let local = Local::start("environment = { PROBE_INIT_ERROR = '1' }");
    let got = local.invoke(json!({}));
    assert_eq!(got.header("x-amz-function-error"), Some("Unhandled"));
    assert_eq!(got.json()["errorMessage"], "the model cannot be loaded");
}
