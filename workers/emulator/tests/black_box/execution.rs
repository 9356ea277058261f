//! Invocations: answers, cold and warm, errors, time-outs, ends.

use crate::support::{Local, eventually, is_alive, report_value};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn an_event_comes_back_with_its_version_and_report() {
    let local = Local::start("");
    let got = local.invoke(json!({ "x": 1 }));
    assert_eq!((got.status, got.json()), (200, json!({ "x": 1 })));
    assert_eq!(got.header("x-amz-executed-version"), Some("$LATEST"));
    assert_eq!(got.header("x-amzn-requestid").map(str::len), Some(36));
    assert_eq!(got.header("x-amz-function-error"), None);
    let tail = got.tail();
    assert!(tail.contains("START RequestId: ") && tail.contains("END RequestId: "), "{tail}");
    let (duration, init) = (report_value(&tail, "Duration"), report_value(&tail, "Init Duration"));
    let billed = report_value(&tail, "Billed Duration").unwrap();
    assert!(
        billed >= duration.unwrap() + init.unwrap() && billed < duration.unwrap() + init.unwrap() + 1.01,
        "{tail}"
    );
    assert!(
        report_value(&local.invoke(json!({})).tail(), "Init Duration").is_none(),
        "the second one is warm"
    );
}

#[test]
fn sequential_invocations_use_one_sandbox() {
    let local = Local::start("");
    let first = local.invoke(json!({ "command": "who" })).json();
    for _ in 0..50 {
        local.invoke(json!({}));
    }
    let last = local.invoke(json!({ "command": "who" })).json();
    assert_eq!(first["process_id"], last["process_id"]);
    assert_eq!(last["invocations"], 52);
    assert_eq!(local.sandboxes().len(), 1);
}

#[test]
fn a_running_sandbox_takes_no_second_event() {
    let local = Local::start("");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| local.invoke(json!({ "command": "sleep", "ms": 500 })));
        }
    });
    assert_eq!(local.sandboxes().len(), 3);
    assert_eq!(local.bill()["cold_starts"], 3);
}

#[test]
fn an_empty_payload_is_an_empty_object_and_bad_json_is_refused() {
    let local = Local::start("");
    assert_eq!(local.try_invoke("probe", "").unwrap().json(), json!({}));
    let refused = local.try_invoke("probe", "not json").unwrap();
    assert_eq!(
        (refused.status, refused.header("x-amzn-errortype")),
        (400, Some("InvalidRequestContentException"))
    );
    assert!(refused.text.contains("Could not parse request body into json"), "{}", refused.text);
}

#[test]
fn function_errors_carry_their_kind_and_the_sandbox_lives_on() {
    let local = Local::start("");
    let unhandled = local.invoke(json!({ "command": "error", "kind": "Probe.Error" }));
    assert_eq!((unhandled.status, unhandled.header("x-amz-function-error")), (200, Some("Unhandled")));
    assert_eq!(unhandled.json()["errorType"], "Probe.Error");
    let handled = local.invoke(json!({ "command": "error", "kind": "Handled" }));
    assert_eq!(handled.header("x-amz-function-error"), Some("Handled"));
    assert_eq!(local.bill()["cold_starts"], 1);
    assert_eq!(local.bill()["function_errors"], 2);
}

#[test]
fn an_exit_a_crash_and_their_words() {
    let local = Local::start("");
    let exited = local.invoke(json!({ "command": "exit", "code": 3 }));
    assert_eq!((exited.status, exited.header("x-amz-function-error")), (200, Some("Unhandled")));
    assert_eq!(exited.json()["errorType"], "Runtime.ExitError");
    let message = exited.json()["errorMessage"].as_str().unwrap().to_owned();
    assert!(message.ends_with("Error: Runtime exited with error: exit status 3"), "{message}");
    assert!(exited.tail().contains("Status: error\tError Type: Runtime.ExitError"), "{}", exited.tail());
    let clean = local.invoke(json!({ "command": "exit", "code": 0 })).text;
    assert!(clean.contains("Runtime exited without providing a reason"), "{clean}");
    let crashed = local.invoke(json!({ "command": "crash" })).text;
    assert!(crashed.contains("Runtime exited with error: signal: aborted"), "{crashed}");
    assert_eq!(local.invoke(json!({ "again": 1 })).json(), json!({ "again": 1 }));
}

#[test]
fn a_timeout_ends_the_sandbox_and_is_billed_in_full() {
    let local = Local::start("timeout_seconds = 1");
    local.invoke(json!({}));
    let begin = Instant::now();
    let got = local.invoke(json!({ "command": "sleep", "ms": 30_000 }));
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!((got.status, got.header("x-amz-function-error")), (200, Some("Unhandled")));
    assert_eq!(got.json()["errorType"], "Sandbox.Timedout");
    assert!(got.text.contains("Error: Task timed out after 1.00 seconds"), "{}", got.text);
    assert_eq!(report_value(&got.tail(), "Billed Duration"), Some(1000.0));
    assert!(got.tail().contains("Status: timeout"), "{}", got.tail());
    assert!(report_value(&local.invoke(json!({})).tail(), "Init Duration").is_some(), "the next one is cold");
}

#[test]
fn all_processes_of_a_sandbox_end_with_it() {
    let local = Local::start("timeout_seconds = 1");
    let child = local.invoke(json!({ "command": "spawn" })).json()["process_id"].as_u64().unwrap();
    let bootstrap = local.invoke(json!({ "command": "who" })).json()["process_id"].as_u64().unwrap();
    assert!(is_alive(child) && is_alive(bootstrap));
    local.invoke(json!({ "command": "sleep", "ms": 30_000 }));
    eventually("both processes are gone", || !is_alive(child) && !is_alive(bootstrap));
    eventually("the sandbox is forgotten", || local.sandboxes().is_empty());
}

#[test]
fn nothing_outlives_the_emulator() {
    let local = Local::start("");
    let child = local.invoke(json!({ "command": "spawn" })).json()["process_id"].as_u64().unwrap();
    let bootstrap = local.invoke(json!({ "command": "who" })).json()["process_id"].as_u64().unwrap();
    drop(local);
    eventually("both processes are gone", || !is_alive(child) && !is_alive(bootstrap));
}

#[test]
fn idle_sandboxes_are_frozen_and_thawed() {
    let local = Local::start("environment = { PROBE_TICKER = '1' }\n[lifecycle]\nfreeze_grace_ms = 0");
    let ticks = || local.invoke(json!({ "command": "ticks" })).json()["ticks"].as_u64().unwrap();
    local.invoke(json!({ "command": "sleep", "ms": 100 }));
    let before = ticks();
    assert!(before > 10, "the ticker runs during invocations: {before}");
    eventually("the sandbox is frozen", || local.sandboxes()[0]["state"] == "frozen");
    std::thread::sleep(Duration::from_millis(600));
    let after = ticks();
    assert!(after - before < 200, "it ran {} ms while it was frozen", after - before);
}

#[test]
fn without_freezing_the_ticker_goes_on() {
    let local = Local::start("environment = { PROBE_TICKER = '1' }\n[lifecycle]\nfreeze = false");
    let ticks = || local.invoke(json!({ "command": "ticks" })).json()["ticks"].as_u64().unwrap();
    let before = ticks();
    std::thread::sleep(Duration::from_millis(600));
    assert!(ticks() - before > 200);
}

#[test]
fn idle_sandboxes_are_reaped() {
    let local = Local::start("[lifecycle]\nkeep_alive_ms = 200");
    local.invoke(json!({}));
    assert_eq!(local.sandboxes().len(), 1);
    eventually("the sandbox is reaped", || local.sandboxes().is_empty());
    assert!(report_value(&local.invoke(json!({})).tail(), "Init Duration").is_some());
}

#[test]
fn the_function_sees_lambdas_environment_and_nothing_of_the_hosts() {
    let local = Local::start("environment = { MODEL = 'm' }");
    let env = local.invoke(json!({ "command": "env" })).json();
    assert_eq!(env["AWS_LAMBDA_FUNCTION_NAME"], "probe");
    assert_eq!(env["AWS_LAMBDA_FUNCTION_VERSION"], "$LATEST");
    assert_eq!(env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "1769");
    assert_eq!(
        (&env["MODEL"], &env["TZ"], &env["PENSTOCK_VISIBLE_CPUS"]),
        (&json!("m"), &json!(":UTC"), &json!("2"))
    );
    assert!(env["LAMBDA_TASK_ROOT"].is_string() && env["AWS_LAMBDA_RUNTIME_API"].is_string());
    assert!(env["CARGO_MANIFEST_DIR"].is_null() && env["HOME"].is_null() && env["USER"].is_null());
}

#[test]
fn output_of_the_function_is_in_the_tail_and_only_its_end() {
    let local = Local::start("");
    let got = local.invoke(json!({ "command": "print", "text": "a line of the function" }));
    assert!(got.tail().contains("\na line of the function\n"), "{}", got.tail());
    let long = local.invoke(json!({ "command": "print", "text": "x".repeat(10_000) })).tail();
    assert!(long.len() == 4096 && long.contains("REPORT RequestId"), "{}", long.len());
    assert!(!long.contains("START RequestId"));
}

#[test]
fn a_streamed_answer_is_joined_and_may_fail_late() {
    let local = Local::start("");
    let got = local.invoke(json!({ "command": "stream", "chunks": 3 }));
    assert_eq!((got.text.as_str(), got.header("x-amz-function-error")), ("\"abcabcabc\"", None));
    let failed = local.invoke(json!({ "command": "stream", "chunks": 1, "fail": true }));
    assert_eq!(failed.header("x-amz-function-error"), Some("Unhandled"));
}

#[test]
fn six_megabytes_are_the_limit_both_ways() {
    let local = Local::start("");
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert_eq!(local.try_invoke("probe", &text(6_291_456)).unwrap().status, 200);
    let refused = local.try_invoke("probe", &text(6_291_457)).unwrap();
    assert_eq!((refused.status, refused.header("x-amzn-errortype")), (413, Some("RequestTooLargeException")));
    assert!(
        refused.text.contains("Request must be smaller than 6291456 bytes for the InvokeFunction operation")
    );
    assert_eq!(local.invoke(json!({ "command": "oversize", "bytes": 6_291_500 })).status, 200);
    let large = local.invoke(json!({ "command": "oversize", "bytes": 7_000_000 }));
    assert_eq!((large.status, large.header("x-amz-function-error")), (200, Some("Unhandled")));
    assert_eq!(large.json()["errorType"], "Function.ResponseSizeTooLarge");
    assert!(large.text.contains("exceeded maximum allowed payload size (6291556 bytes)"), "{}", large.text);
    assert_eq!(local.invoke(json!({ "still": "there" })).status, 200);
}

#[test]
fn a_dry_run_executes_nothing_and_an_event_is_executed_later() {
    let local = Local::start("");
    let send = |kind: &str| {
        let path = "/2015-03-31/functions/probe/invocations";
        local.send("POST", path, &[("X-Amz-Invocation-Type", kind)], b"{}").unwrap()
    };
    assert_eq!(send("DryRun").status, 204);
    assert_eq!(local.bill()["invocations"], 0);
    let accepted = send("Event");
    assert_eq!((accepted.status, accepted.text.as_str()), (202, ""));
    eventually("the event is executed", || local.bill()["invocations"] == 1);
    assert_eq!(send("Never").status, 400);
}

#[test]
fn an_event_that_fails_is_tried_three_times() {
    let local = Local::start("[lifecycle]\nevent_retry_ms = 20");
    let body = br#"{"command":"error","kind":"Probe.Error"}"#;
    let headers = [("X-Amz-Invocation-Type", "Event")];
    local.send("POST", "/2015-03-31/functions/probe/invocations", &headers, body).unwrap();
    eventually("it is tried three times", || local.bill()["function_errors"] == 3);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(local.bill()["invocations"], 3);
}

#[test]
fn a_client_that_leaves_changes_nothing_for_the_function() {
    use std::io::Write;
    let local = Local::start("");
    local.invoke(json!({}));
    let body = r#"{"command":"sleep","ms":300}"#;
    let mut stream = std::net::TcpStream::connect(local.url.trim_start_matches("http://")).unwrap();
    write!(stream, "POST /2015-03-31/functions/probe/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    eventually("it is executed to the end", || local.bill()["invocations"] == 2);
    eventually("its concurrency is given back", || local.sandboxes()[0]["function_in_flight"] == 0);
    assert_eq!(local.bill()["cold_starts"], 1);
}
