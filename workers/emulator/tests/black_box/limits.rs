//! Concurrency, rates and the bill.

use crate::support::{Got, Local};
use serde_json::{Value, json};
use std::time::Duration;

fn refused(got: &Got, reason: &str) {
    assert_eq!(
        (got.status, got.header("x-amzn-errortype")),
        (429, Some("TooManyRequestsException")),
        "{}",
        got.text
    );
    assert_eq!(got.json()["Reason"], reason);
    assert!(got.header("retry-after").is_some());
}

/// Runs `work` while one invocation sleeps for a second.
fn while_busy(local: &Local, work: impl FnOnce()) {
    std::thread::scope(|scope| {
        scope.spawn(|| local.invoke(json!({ "command": "sleep", "ms": 1000 })));
        crate::support::eventually("the first one runs", || {
            local.sandboxes().first().is_some_and(|sandbox| sandbox["state"] == "busy")
        });
        work();
    });
}

#[test]
fn the_accounts_concurrency_is_a_limit() {
    let local = Local::start("[limits]\naccount_concurrency = 1");
    while_busy(&local, || refused(&local.invoke(json!({})), "ConcurrentInvocationLimitExceeded"));
    assert_eq!(local.invoke(json!({})).status, 200);
    assert_eq!((&local.bill()["throttles"], &local.bill()["invocations"]), (&json!(1), &json!(2)));
}

#[test]
fn reserved_concurrency_is_a_limit_of_its_own() {
    let local = Local::start("");
    let path = "/2017-10-31/functions/probe/concurrency";
    let put = |units: i64| local.call("PUT", path, json!({ "ReservedConcurrentExecutions": units }));
    assert_eq!(put(1).json(), json!({ "ReservedConcurrentExecutions": 1 }));
    while_busy(&local, || {
        refused(&local.invoke(json!({})), "ReservedFunctionConcurrentInvocationLimitExceeded")
    });
    let shown = local.call("GET", "/2019-09-30/functions/probe/concurrency", Value::Null).json();
    assert_eq!(shown["ReservedConcurrentExecutions"], 1);
    let settings = local.call("GET", "/2016-08-19/account-settings", Value::Null).json();
    assert_eq!(settings["AccountLimit"]["UnreservedConcurrentExecutions"], 999);
    let too_many = put(901);
    assert_eq!(too_many.status, 400);
    assert!(too_many.text.contains("below its minimum value of [100]"), "{}", too_many.text);
    put(0);
    refused(&local.invoke(json!({})), "ReservedFunctionConcurrentInvocationLimitExceeded");
    assert_eq!(local.call("DELETE", path, Value::Null).status, 204);
    assert_eq!(local.invoke(json!({})).status, 200);
}

#[test]
fn ten_requests_a_second_per_unit_of_concurrency() {
    let local = Local::start("[limits]\naccount_concurrency = 1\nrequests_per_second_per_concurrency = 1");
    assert_eq!(local.invoke(json!({})).status, 200);
    refused(&local.invoke(json!({})), "FunctionInvocationRateLimitExceeded");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(local.invoke(json!({})).status, 200);
}

#[test]
fn scaling_up_too_fast_is_throttled_and_warm_sandboxes_still_serve() {
    let local = Local::start("[limits]\nenvironments_per_10_seconds = 1");
    while_busy(&local, || refused(&local.invoke(json!({})), "ConcurrentInvocationLimitExceeded"));
    assert_eq!(local.invoke(json!({})).status, 200);
}

#[test]
fn configuration_calls_have_their_own_rate() {
    let local = Local::start("[limits]\ncontrol_plane_requests_per_second = 2");
    let statuses: Vec<u16> =
        (0..6).map(|_| local.call("GET", "/2016-08-19/account-settings", Value::Null).status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

#[test]
fn the_bill_adds_up() {
    let local = Local::start("memory_mib = [1024]");
    let billed: f64 = (0..5)
        .map(|_| {
            crate::support::report_value(
                &local.invoke(json!({ "command": "sleep", "ms": 20 })).tail(),
                "Billed Duration",
            )
            .unwrap()
        })
        .sum();
    let bill = local.bill();
    assert_eq!((&bill["invocations"], &bill["cold_starts"]), (&json!(5), &json!(1)));
    assert!((bill["gb_seconds"].as_f64().unwrap() - billed / 1000.0).abs() < 1e-9, "{bill}");
    let expected = billed / 1000.0 * 0.000_016_666_7 + 5.0 * 0.2e-6;
    assert!((bill["total_usd"].as_f64().unwrap() - expected).abs() < 1e-15, "{bill}");
}

#[test]
fn under_concurrency_every_answer_is_the_callers_own() {
    let local = Local::start(
        "[limits]\naccount_concurrency = 4\nrequests_per_second_per_concurrency = 0\n[metering]\ncpu_scale = 1.0",
    );
    let (answered, throttled) = (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (local, answered, throttled) = (&local, &answered, &throttled);
            scope.spawn(move || {
                for index in 0..100 {
                    let event = json!({ "thread": thread, "index": index });
                    let got = local.invoke(event.clone());
                    match got.status {
                        200 => assert_eq!(got.json(), event),
                        status => assert_eq!(status, 429, "{}", got.text),
                    }
                    let counter = if got.status == 200 { answered } else { throttled };
                    counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    let bill = local.bill();
    assert_eq!(bill["invocations"], answered.into_inner());
    assert_eq!(bill["throttles"], throttled.into_inner());
    assert!(local.sandboxes().len() <= 4, "{}", local.sandboxes().len());
}
