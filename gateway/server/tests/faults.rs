//! Faults of Lambda and of workers, seen from outside: HTTP in front, a scripted endpoint behind the real SDK.
//! The numbers in the names' comments are the rows of the fault table that each test shows.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use support::{Act, echo, function_error, request, service_error, throttle, value, world};
use workers_protocol::{ItemError, ItemErrorCode};

const ONE_BY_ONE: &str =
    "packing = \"none\"\n[models.echo.plan.retry]\nbackoff_base_ms = 5\nbackoff_max_ms = 50";

fn batches_of(items: u32) -> String {
    format!(
        "packing = \"fifo\"\nmax_batch_size = {items}\nmax_queue_delay_ms = 50\n[models.echo.plan.retry]\nbackoff_base_ms = 5"
    )
}

// Row 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_429_storm_costs_no_request_and_no_retry_storm() {
    const CAP: usize = 4;
    let world =
        world(&format!("max_in_flight = 32\n{ONE_BY_ONE}\nmax_attempts = 50\nbudget_ratio = 1.0"), |call| {
            if call.running > CAP {
                throttle("0.02")
            } else {
                Act::Later(Duration::from_millis(10), Box::new(echo(&call.request, &[])))
            }
        })
        .await;
    let requests: Vec<_> =
        (0..300_u16).map(|n| (f32::from(n), tokio::spawn(world.send(f32::from(n))))).collect();
    for (sent, request) in requests {
        let (status, body) = request.await.unwrap();
        assert_eq!(status, 200, "{body}");
        assert!((value(&body) - f64::from(sent)).abs() < 1e-9);
    }
    let calls = world.lambda.calls();
    assert!(calls <= 600, "{calls} invocations for 300 requests: the window did not adapt");
    assert!(world.metric("penstock_retries_total{model=\"echo\",reason=\"throttled\"}").await > 0.0);
}

// Row 2.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_outcomes_are_retried_once_and_answered_once() {
    for fault in [|| service_error(500, "ServiceException", &json!({})), || Act::Reset] {
        let world =
            world(ONE_BY_ONE, move |call| if call.n == 0 { fault() } else { echo(&call.request, &[]) }).await;
        let (status, body) = world.send(7.0).await;
        assert_eq!((status, value(&body)), (200, 7.0));
        assert_eq!(world.lambda.calls(), 2);
    }
    let world = world(ONE_BY_ONE, |_| Act::Reset).await;
    let (status, body) = world.send(7.0).await;
    assert!(status >= 500, "{status} {body}");
    assert_eq!(world.lambda.calls(), 2, "once more at most");
}

// Row 3.
#[tokio::test(flavor = "multi_thread")]
async fn one_poison_item_in_64_fails_alone() {
    let world = world(&batches_of(64), |call| {
        let poison = call.request.inputs[0].data.chunks(4).any(|bytes| bytes == 13.0_f32.to_le_bytes());
        if poison { function_error("Runtime.ExitError") } else { echo(&call.request, &[]) }
    })
    .await;
    let requests: Vec<_> = (0..64_u16).map(|n| (n, tokio::spawn(world.send(f32::from(n))))).collect();
    for (n, request) in requests {
        let (status, body) = request.await.unwrap();
        if n == 13 {
            assert!(status == 502 || status == 422, "{status} {body}");
        } else {
            assert_eq!((status, value(&body)), (200, f64::from(n)), "{body}");
        }
    }
}

// Row 4.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_failure_fails_its_items_only() {
    let world = world(&batches_of(8), |call| {
        let bad = |n: usize| call.request.inputs[0].data[n * 4..n * 4 + 4] == 3.0_f32.to_le_bytes();
        let errors: Vec<ItemError> = (0..call.request.ids.len())
            .filter(|&n| bad(n))
            .map(|n| ItemError {
                id: call.request.ids[n],
                code: ItemErrorCode::InvalidInput,
                message: "too odd".to_owned(),
            })
            .collect();
        echo(&call.request, &errors)
    })
    .await;
    let requests: Vec<_> = (0..8_u16).map(|n| (n, tokio::spawn(world.send(f32::from(n))))).collect();
    for (n, request) in requests {
        let (status, body) = request.await.unwrap();
        if n == 3 {
            assert!((400..500).contains(&status), "{status} {body}");
        } else {
            assert_eq!((status, value(&body)), (200, f64::from(n)));
        }
    }
    assert_eq!(world.metric("penstock_item_errors_total{code=\"invalid_input\",model=\"echo\"}").await, 1.0);
}

// Row 5.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_from_a_worker_is_a_function_error_and_shifts_no_answer() {
    let world = world(&batches_of(2), |mut call| match call.n {
        0 => Act::Http(200, Vec::new(), b"[1, 2, 3]".to_vec()),
        1 => {
            call.request.ids.reverse(); // another item's id on each value's place would be a shift; a wrong id is refused
            call.request.ids[0] += 1000;
            echo(&call.request, &[])
        }
        _ => echo(&call.request, &[]),
    })
    .await;
    let (first, second) = (tokio::spawn(world.send(1.0)), tokio::spawn(world.send(2.0)));
    let results = [(1.0, first.await.unwrap()), (2.0, second.await.unwrap())];
    let good = results.iter().filter(|(sent, (status, body))| *status == 200 && value(body) == *sent).count();
    let failed = results.iter().filter(|(_, (status, _))| *status >= 500).count();
    assert_eq!((good, failed), (1, 1), "{results:?}");
}

// Row 8.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_asked_for_in_halves() {
    let world = world(&batches_of(8), |call| {
        if call.request.ids.len() > 2 {
            function_error("Function.ResponseSizeTooLarge")
        } else {
            echo(&call.request, &[])
        }
    })
    .await;
    let requests: Vec<_> = (0..8_u16).map(|n| (n, tokio::spawn(world.send(f32::from(n))))).collect();
    for (n, request) in requests {
        let (status, body) = request.await.unwrap();
        assert_eq!((status, value(&body)), (200, f64::from(n)), "{body}");
    }
}

// Row 8.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_fits_no_request_is_refused_before_any_invocation() {
    let world = world("max_request_payload_bytes = 10000", |call| echo(&call.request, &[])).await;
    let data = vec![1.0_f32; 4000];
    let body = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 4000], "data": data }] });
    let (status, answer) =
        request(world.gateway.public_address(), "POST", "/v2/models/echo/infer", &body.to_string()).await;
    assert_eq!((status, world.lambda.calls()), (413, 0), "{answer}");
}

// Row 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_queued_item_along() {
    let plan = "packing = \"fifo\"\nmax_batch_size = 8\nmax_queue_delay_ms = 600";
    let world = world(plan, |call| echo(&call.request, &[])).await;
    let leaving = tokio::spawn(world.send(1.0));
    let staying = tokio::spawn(world.send(2.0));
    tokio::time::sleep(Duration::from_millis(200)).await;
    leaving.abort();
    let (status, body) = staying.await.unwrap();
    assert_eq!((status, value(&body)), (200, 2.0));
    assert_eq!(world.metric("penstock_cancelled_in_queue_total{model=\"echo\"}").await, 1.0);
    assert_eq!(world.metric("penstock_queue_items{model=\"echo\"}").await, 0.0);
    assert_eq!(world.metric("penstock_requests_in_flight").await, 0.0);
}

// Row 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_with_504() {
    let world =
        world(ONE_BY_ONE, |call| Act::Later(Duration::from_secs(3), Box::new(echo(&call.request, &[]))))
            .await;
    let (status, body) = world.send_items(&[1.0], &json!({ "timeout": 400_000 })).await;
    assert_eq!(status, 504, "{body}");
}

// Row 16.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_fails_no_request_and_a_bad_file_keeps_the_old() {
    let world = world(&batches_of(8), |call| echo(&call.request, &[])).await;
    let path = world.folder.path().join("gateway.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let failed = AtomicUsize::new(0);
    let load = async {
        for n in 0..60_u16 {
            let (status, _) = world.send(f32::from(n)).await;
            failed.fetch_add(usize::from(status != 200), Ordering::Relaxed);
        }
    };
    let reloads = async {
        for n in 0..6 {
            let text = if n % 2 == 0 {
                good.replace("max_batch_size = 8", "max_batch_size = 4")
            } else {
                good.clone()
            };
            std::fs::write(&path, text).unwrap();
            assert!(world.gateway.reload().unwrap().changed);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::join!(load, reloads);
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    std::fs::write(&path, good.replace("max_batch_size", "max_batchsize")).unwrap();
    let error = world.gateway.reload().unwrap_err().to_string();
    assert!(error.contains("did you mean `max_batch_size`?"), "{error}");
    assert_eq!(world.send(1.0).await.0, 200);
    assert_eq!(world.metric("penstock_config_last_reload_successful").await, 0.0);
    std::fs::write(&path, good.replace("[aws]", "[aws]\ntail_logs = false")).unwrap();
    assert_eq!(world.gateway.reload().unwrap().needs_restart, ["aws.tail_logs"]);
}

// Row 16.
#[tokio::test(flavor = "multi_thread")]
async fn models_come_and_go_with_a_reload() {
    let world = world(ONE_BY_ONE, |call| echo(&call.request, &[])).await;
    let path = world.folder.path().join("gateway.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let second = "\n[models.second]\nmanifest = \"model.toml\"\nfunction = \"g\"\n";
    std::fs::write(&path, format!("{good}{second}")).unwrap();
    assert_eq!(world.gateway.reload().unwrap().models, ["echo", "second"]);
    let body = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 1], "data": [5.0] }] })
        .to_string();
    let second = |address| {
        let body = body.clone();
        async move { request(address, "POST", "/v2/models/second/infer", &body).await.0 }
    };
    assert_eq!(second(world.gateway.public_address()).await, 200);
    std::fs::write(&path, good).unwrap();
    world.gateway.reload().unwrap();
    assert_eq!(second(world.gateway.public_address()).await, 404);
    assert_eq!(world.send(1.0).await.0, 200);
}

// Row 17.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_turns_unready_first_flushes_and_answers_everything() {
    let plan = "packing = \"fifo\"\nmax_batch_size = 64\nmax_queue_delay_ms = 20000";
    let world = world(plan, |call| echo(&call.request, &[])).await;
    let waiting: Vec<_> = (0..5_u16).map(|n| (n, tokio::spawn(world.send(f32::from(n))))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (admin, public) = (world.gateway.admin_address(), world.gateway.public_address());
    assert_eq!(request(admin, "GET", "/health/ready", "").await.0, 200);
    let stop = tokio::spawn(world.gateway.shutdown());
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(request(public, "GET", "/v2/health/ready", "").await.0, 503, "not ready, and still serving");
    assert!(stop.await.unwrap(), "everything finished");
    for (n, request) in waiting {
        let (status, body) = request.await.unwrap();
        assert_eq!((status, value(&body)), (200, f64::from(n)), "{body}");
    }
    assert_eq!(world.lambda.calls.load(Ordering::SeqCst), 1, "one flushed batch");
}

// Row 25.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_alias_or_another_protocol_is_refused_at_once() {
    let missing = || {
        service_error(
            404,
            "ResourceNotFoundException",
            &json!({ "Message": "Function not found", "Type": "User" }),
        )
    };
    for fault in [
        missing,
        || function_error("ProtocolVersionMismatch"),
        || Act::Http(200, Vec::new(), b"{\"v\":99}".to_vec()),
    ] {
        let world = world(ONE_BY_ONE, move |_| fault()).await;
        let (status, body) = world.send(1.0).await;
        assert!(status == 502 || status == 503, "{status} {body}");
        assert_eq!(world.lambda.calls(), 1, "a retry cannot mend it");
    }
}

// Row 24, and what an invocation costs.
#[tokio::test(flavor = "multi_thread")]
async fn billed_time_comes_from_the_report_or_is_flagged_as_estimated() {
    let world = world(ONE_BY_ONE, |call| match echo(&call.request, &[]) {
        Act::Http(status, _, body) if call.n == 1 => Act::Http(status, Vec::new(), body),
        act @ (Act::Http(..) | Act::Later(..) | Act::Reset) => {
            assert_eq!(call.qualifier, "mem-1024");
            act
        }
    })
    .await;
    world.send(1.0).await;
    assert_eq!(world.metric("penstock_lambda_billed_seconds_total{model=\"echo\"}").await, 0.01);
    assert_eq!(world.metric("penstock_report_parse_failures_total{model=\"echo\"}").await, 0.0);
    world.send(1.0).await;
    assert_eq!(world.metric("penstock_report_parse_failures_total{model=\"echo\"}").await, 1.0);
    assert!(
        world.metric("penstock_cost_usd_total{component=\"lambda_duration\",model=\"echo\"}").await > 0.0
    );
}
