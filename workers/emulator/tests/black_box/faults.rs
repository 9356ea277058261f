//! The fault script: from the configuration and replaced while running.

use crate::support::Local;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

fn script(local: &Local, text: &str) {
    let got = local.send("PUT", "/_penstock/faults", &[], text.as_bytes()).unwrap();
    assert_eq!(got.status, 200, "{}", got.text);
}

/// Sends an invocation over a bare connection; what comes back until it ends, and how it ended.
fn bare(local: &Local) -> (String, Option<std::io::ErrorKind>) {
    let mut stream = std::net::TcpStream::connect(local.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"POST /2015-03-31/functions/probe/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    let mut text = Vec::new();
    let ended = stream.read_to_end(&mut text);
    (String::from_utf8_lossy(&text).into_owned(), ended.err().map(|error| error.kind()))
}

#[test]
fn a_throttle_from_the_configuration_has_its_reason_and_executes_nothing() {
    let local = Local::start(
        "[[fault]]\nfunction = 'pro*'\ncount = 2\naction = { kind = 'throttle', reason = 'CallerRateLimitExceeded', retry_after_seconds = 7 }",
    );
    for _ in 0..2 {
        let got = local.invoke(json!({}));
        assert_eq!((got.status, got.header("retry-after")), (429, Some("7")));
        assert_eq!(got.json()["Reason"], "CallerRateLimitExceeded");
    }
    assert_eq!(local.invoke(json!({})).status, 200);
    assert_eq!(local.bill()["invocations"], 1);
}

#[test]
fn statuses_are_answered_and_counted() {
    let local = Local::start("");
    script(
        &local,
        "[[fault]]\nevery = 2\naction = { kind = 'status', code = 503, error_type = 'ServiceUnavailableException' }",
    );
    let statuses: Vec<u16> = (0..4).map(|_| local.invoke(json!({})).status).collect();
    assert_eq!(statuses, [200, 503, 200, 503]);
    let progress = local.call("GET", "/_penstock/faults", Value::Null).json();
    assert_eq!((&progress["faults"][0]["matched"], &progress["faults"][0]["fired"]), (&json!(4), &json!(2)));
}

#[test]
fn only_payloads_with_the_text_are_hit() {
    let local = Local::start("");
    script(&local, r#"{"fault":[{"contains":"poison","action":{"kind":"status","code":500}}]}"#);
    assert_eq!(local.invoke(json!({ "x": "fine" })).status, 200);
    assert_eq!(local.invoke(json!({ "x": "poisoned" })).status, 500);
}

#[test]
fn a_delay_delays() {
    let local = Local::start("");
    local.invoke(json!({}));
    script(&local, "[[fault]]\naction = { kind = 'delay', delay_ms = 300 }");
    let begin = Instant::now();
    assert_eq!(local.invoke(json!({})).status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_reset_after_send_resets_the_connection_with_or_without_execution() {
    let local = Local::start("");
    script(&local, "[[fault]]\naction = { kind = 'reset_after_send', execute = false }");
    assert_eq!(bare(&local), (String::new(), Some(std::io::ErrorKind::ConnectionReset)));
    assert_eq!(local.bill()["invocations"], 0);
    script(&local, "[[fault]]\naction = { kind = 'reset_after_send' }");
    assert_eq!(bare(&local), (String::new(), Some(std::io::ErrorKind::ConnectionReset)));
    assert_eq!(local.bill()["invocations"], 1);
}

#[test]
fn a_lost_response_is_executed_and_billed() {
    let local = Local::start("");
    script(&local, "[[fault]]\ncount = 1\naction = { kind = 'lost_response' }");
    assert_eq!(bare(&local), (String::new(), None), "the connection is closed, not reset");
    assert_eq!(local.bill()["invocations"], 1);
    assert_eq!(local.invoke(json!({})).status, 200);
}

#[test]
fn a_kill_ends_the_sandbox_in_the_middle() {
    let local = Local::start("");
    let before = local.invoke(json!({ "command": "who" })).json();
    script(&local, "[[fault]]\ncount = 1\naction = { kind = 'kill', after_ms = 50 }");
    let got = local.invoke(json!({ "command": "sleep", "ms": 5000 }));
    assert_eq!(got.header("x-amz-function-error"), Some("Unhandled"));
    assert!(got.text.contains("Runtime exited with error: signal: killed"), "{}", got.text);
    assert_ne!(local.invoke(json!({ "command": "who" })).json()["process_id"], before["process_id"]);
    script(&local, "[[fault]]\naction = { kind = 'kill' }");
    assert_eq!(local.invoke(json!({})).header("x-amz-function-error"), Some("Unhandled"));
}

#[test]
fn an_oversize_answer_is_replaced_by_the_error() {
    let local = Local::start("");
    script(&local, "[[fault]]\ncount = 1\naction = { kind = 'oversize' }");
    assert_eq!(local.invoke(json!({})).json()["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(local.invoke(json!({})).json(), json!({}));
}

#[test]
fn a_malformed_script_is_refused_and_the_old_one_stays() {
    let local = Local::start("[[fault]]\naction = { kind = 'status', code = 502 }");
    let got = local.send("PUT", "/_penstock/faults", &[], b"[[fault]]\nactoin = 1").unwrap();
    assert_eq!(got.status, 400);
    assert!(got.text.contains("actoin"), "{}", got.text);
    assert_eq!(local.invoke(json!({})).status, 502);
}
