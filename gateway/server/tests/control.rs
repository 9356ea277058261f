//! The closed loop from outside: HTTP in front, a scripted endpoint behind the real SDK, the real tuner between.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

#[expect(dead_code, reason = "the tests of faults use the rest")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use support::{Call, echo, raw_request, request, service_error, world};

/// Policy lines behind the plan's.
fn with_policy(policy: &str) -> String {
    format!(
        "max_batch_size = 4\nmax_queue_delay_ms = 5\n[models.echo.policy]\nmemory_mib = [1024, 2048]\nwindow_ms = 200\n{policy}"
    )
}

/// Whether this happens within ten seconds.
async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) -> bool {
    for _ in 0..100 {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// A worker that answers warm-ups as well.
fn worker(call: &Call) -> support::Act {
    echo(&call.request, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_shows_and_steers_the_loop() {
    let world = world(&with_policy(""), |call| worker(&call)).await;
    let admin = world.gateway.admin_address();
    for _ in 0..20 {
        let (status, body) = world.send(1.0).await;
        assert_eq!(status, 200, "{body}");
    }
    let seen = eventually(|| async move {
        let (status, body) = request(admin, "GET", "/control/models/echo", "").await;
        status == 200 && body["last_window"]["length_ms"].as_f64().unwrap_or(0.0) > 0.0
    });
    assert!(seen.await);
    let (status, body) = request(admin, "GET", "/control/models", "").await;
    assert_eq!((status, &body["models"][0]["policy"]), (200, &json!("grey_box")), "{body}");
    let point =
        json!({ "max_batch_size": 2, "max_queue_delay_ms": 3, "memory_mib": 2048, "process_count": 1 });
    let (status, body) = request(admin, "POST", "/control/models/echo/pin", &point.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let pinned = eventually(|| async move {
        let (_, body) = request(admin, "GET", "/control/models/echo", "").await;
        body["plan"]["rungs"][0]["qualifier"] == "mem-2048" && body["plan"]["max_batch_size"] == 2
    });
    assert!(pinned.await, "the pinned point serves, after a warm-up");
    let (status, body) = world.send(1.0).await;
    assert_eq!(status, 200, "{body}");
    assert!(
        world.metric("penstock_control_calls_total{model=\"echo\",outcome=\"ok\",purpose=\"warm_up\"}").await
            > 0.0
    );
    let (_, body) = request(world.gateway.public_address(), "GET", "/v2/models/echo/config", "").await;
    assert_eq!(body["max_batch_size"], 2, "the front end sees the plan in force");
    let (status, body) = request(admin, "POST", "/control/models/echo/pin", "{\"memory_mib\": 4096}").await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("memory_mib"), "{status} {body}");
    assert!(world.gateway.shutdown().await);
}

// Row 25.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_configured_alias() {
    let is_gone = Arc::new(AtomicBool::new(true));
    let gone = is_gone.clone();
    let probed = with_policy("[control]\nprobe_interval_ms = 1000");
    let world = world(&probed, move |call| {
        if gone.load(Ordering::SeqCst) {
            service_error(404, "ResourceNotFoundException", &json!({ "Message": "no such alias" }))
        } else {
            worker(&call)
        }
    })
    .await;
    let (public, admin) = (world.gateway.public_address(), world.gateway.admin_address());
    let becomes = |status: u16| {
        eventually(move || async move {
            let answers = request(public, "GET", "/v2/health/ready", "").await;
            answers.0 == status && request(admin, "GET", "/health/ready", "").await.0 == status
        })
    };
    assert!(becomes(503).await);
    let (status, body) = request(public, "GET", "/v2/health/ready", "").await;
    let text = body["error"].as_str().unwrap_or_default();
    assert!(status == 503 && text.contains("mem-1024") && text.contains("echo"), "{body}");
    assert_eq!(request(public, "GET", "/v2/models/echo/ready", "").await.0, 503);
    assert_eq!(request(public, "GET", "/v2/health/live", "").await.0, 200);
    is_gone.store(false, Ordering::SeqCst);
    assert!(becomes(200).await, "by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_the_admin_listeners_alone_and_shows_batches_of_real_requests() {
    let world = world(&with_policy(""), |call| worker(&call)).await;
    let (public, admin) = (world.gateway.public_address(), world.gateway.admin_address());
    let (status, page) = raw_request(admin, "GET", "/console", "").await;
    assert!(status == 200 && page.contains("<title>Penstock console</title>"), "{status}");
    assert_eq!(raw_request(public, "GET", "/console", "").await.0, 404);
    assert_eq!(raw_request(public, "GET", "/control/gateway", "").await.0, 404);
    let (status, gateway) = request(admin, "GET", "/control/gateway", "").await;
    assert_eq!((status, &gateway["models"], &gateway["has_jobs"]), (200, &json!(["echo"]), &json!(false)));
    assert_eq!((&gateway["is_ready"], &gateway["is_draining"]), (&json!(true), &json!(false)));
    for _ in 0..3 {
        assert_eq!(world.send(1.0).await.0, 200);
    }
    let seen = eventually(|| async move {
        let (_, body) = request(admin, "GET", "/control/models/echo/batches", "").await;
        body["batches"].as_array().is_some_and(|batches| batches.len() == 3)
    });
    assert!(seen.await);
    let (_, body) = request(admin, "GET", "/control/models/echo/batches?limit=1", "").await;
    let batch = &body["batches"][0];
    assert_eq!((&batch["outcome"], &batch["qualifier"]), (&json!("ok"), &json!("mem-1024")), "{batch}");
    assert_eq!(batch["billed_ms"], 10.0, "by the REPORT line");
    assert!(world.gateway.shutdown().await);
}
