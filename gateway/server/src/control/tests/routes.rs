//! The admin routes against a running loop.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use gateway_contract::Timestamp;
use http_body_util::BodyExt as _;
use optimizer_tuner::surface::Surface;
use optimizer_tuner::{Command, TunerAction, TunerEvent};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::folder;
use super::world::{Script, World, eventually};
use crate::control::routes::router;

async fn call(world: &World, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    call_with(world, method, path, body, Some("application/json")).await
}

async fn call_with(
    world: &World,
    method: &str,
    path: &str,
    body: &str,
    content_type: Option<&str>,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = router(world.control.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn started(folder: &std::path::Path) -> World {
    let world = World::start(folder, "", Script::default());
    assert!(eventually(|| !world.control.snapshots().is_empty()).await);
    world
}

#[tokio::test(start_paused = true)]
async fn operators_see_plan_policy_and_the_last_window() {
    let folder = folder();
    let world = started(folder.path()).await;
    world.send().await.unwrap();
    assert!(eventually(|| world.script().windows.len() >= 2).await);
    let (status, all) = call(&world, "GET", "/control/models", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(all["models"][0]["model"], "echo");
    assert_eq!(all["models"][0]["plan"]["rungs"][0]["qualifier"], "mem-1024");
    let (status, one) = call(&world, "GET", "/control/models/echo", "").await;
    assert_eq!(
        (status, &one["policy"], &one["phase"]),
        (StatusCode::OK, &json!("grey_box"), &json!("learning"))
    );
    assert!(one["last_window"]["length_ms"].as_f64().unwrap() > 900.0 && one["report"]["points"].is_array());
}

#[tokio::test(start_paused = true)]
async fn commands_reach_the_tuner_and_a_pin_takes_a_point() {
    let folder = folder();
    let world = started(folder.path()).await;
    for action in ["freeze", "resume", "forget"] {
        let (status, _) = call(&world, "POST", &format!("/control/models/echo/{action}"), "").await;
        assert_eq!(status, StatusCode::OK, "{action}");
    }
    assert_eq!(world.script().commands, [Command::Freeze, Command::Resume, Command::Forget]);
    let point =
        json!({ "max_batch_size": 8, "max_queue_delay_ms": 5, "memory_mib": 2048, "process_count": 2 });
    let (status, _) = call(&world, "POST", "/control/models/echo/pin", &point.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(eventually(|| world.plan().max_batch_size == 8).await);
    let plan = world.plan();
    assert_eq!(plan.max_queue_delay, super::ms(5));
    assert_eq!((plan.rungs[0].qualifier.as_str(), plan.rungs[0].process_count), ("mem-2048", 2));
}

#[tokio::test(start_paused = true)]
async fn wrong_commands_are_refused_by_name() {
    let folder = folder();
    let world = started(folder.path()).await;
    for (path, body, status, part) in [
        ("/control/models/other", "", 405, ""),
        ("/control/models/other/freeze", "", 404, "no model `other`"),
        ("/control/models/echo/stop", "", 404, "no action `stop`"),
        ("/control/models/echo/pin", "{\"batch\": 1}", 400, "unknown field `batch`"),
        ("/control/models/echo/pin", "{\"max_batch_size\": 0}", 400, "`max_batch_size` must be"),
        ("/control/models/echo/pin", "{\"memory_mib\": 3000}", 400, "`memory_mib` 3000 has no alias"),
        ("/control/models/echo/pin", "{\"process_count\": 65}", 400, "`process_count` must be"),
        ("/control/models/echo/pin", "{\"max_queue_delay_ms\": -1}", 400, "`max_queue_delay_ms` must be"),
        ("/control/models/echo/pin", "[", 400, "not an operating point"),
    ] {
        let (found, answer) = call(&world, "POST", path, body).await;
        assert_eq!(found.as_u16(), status, "{path} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap_or_default().contains(part), "{answer}");
    }
    assert!(world.script().commands.is_empty());
    let (status, answer) = call(&world, "GET", "/control/models/other", "").await;
    assert_eq!((status, &answer["error"]), (StatusCode::NOT_FOUND, &json!("no model `other`")));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_does_not_come_as_json_is_refused() {
    let folder = folder();
    let world = started(folder.path()).await;
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=b"),
    ] {
        for action in ["pin", "freeze", "resume", "forget"] {
            let path = format!("/control/models/echo/{action}");
            let (status, answer) = call_with(&world, "POST", &path, "{}", content_type).await;
            assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
            assert!(answer["error"].as_str().unwrap().contains("application/json"), "{answer}");
        }
    }
    for method in ["GET", "PUT"] {
        let (status, _) = call(&world, method, "/control/models/echo/freeze", "{}").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    assert!(world.script().commands.is_empty());
    let json = Some("Application/JSON; charset=utf-8");
    let (status, _) = call_with(&world, "POST", "/control/models/echo/freeze", "", json).await;
    assert_eq!((status, world.script().commands.len()), (StatusCode::OK, 1));
}

#[tokio::test(start_paused = true)]
async fn the_past_is_there_for_who_comes_later_and_only_what_is_new_for_who_stayed() {
    let folder = folder();
    let world = started(folder.path()).await;
    let change = TunerAction::ChangePoint {
        windows_ago: 1,
        before_per_s: 5.0,
        after_per_s: 60.0,
        after_standard_error_per_s: 2.0,
        probability: 0.98,
    };
    world.script().events.push_back(TunerEvent::new(Timestamp::from_nanos(1_500_000_000), change));
    for _ in 0..4 {
        world.send().await.unwrap();
    }
    let windows = world.script().windows.len();
    assert!(eventually(|| world.script().windows.len() > windows + 1).await);
    let plan = world.plan_on(2, 1024);
    world.script().plans.push_back(gateway_contract::ServingPlan { max_batch_size: 2, ..plan });
    assert!(eventually(|| world.plan().max_batch_size == 2).await);
    let (status, past) = call(&world, "GET", "/control/models/echo/history", "").await;
    assert_eq!(status, StatusCode::OK);
    let rows = past["windows"].as_array().unwrap();
    let sum = |key: &str| rows.iter().map(|row| row[key].as_f64().unwrap()).sum::<f64>();
    assert_eq!((sum("requests"), sum("answered")), (4.0, 4.0), "{past}");
    assert!(sum("cost_usd") > 0.0);
    let busy = rows.iter().find(|row| row["answered"].as_u64() > Some(0)).unwrap();
    assert!(busy["latency_p50_ms"].as_f64().unwrap() > 20.0 && busy["latency_p99_ms"].is_number(), "{busy}");
    let decision = &past["decisions"][0];
    assert_eq!((&decision["what"]["action"], &decision["at"]), (&json!("change_point"), &json!(1.5)));
    let sizes: Vec<_> =
        past["plans"].as_array().unwrap().iter().map(|plan| &plan["max_batch_size"]).collect();
    assert_eq!(sizes, [&json!(4), &json!(2)], "the configured plan and the one of the tuner");
    assert!(past["now_s"].as_f64() > Some(1.5) && past["started_unix_ms"].as_u64() > Some(1_600_000_000_000));

    let (last, started) = (past["last"].as_u64().unwrap(), past["started_unix_ms"].as_u64().unwrap());
    let windows = world.script().windows.len();
    assert!(eventually(|| world.script().windows.len() > windows + 1).await);
    let path = format!("/control/models/echo/history?after={last}&started_unix_ms={started}");
    let (_, news) = call(&world, "GET", &path, "").await;
    let rows = news["windows"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["number"].as_u64() > Some(last)), "{news}");
    assert_eq!((&news["plans"], &news["decisions"]), (&json!([]), &json!([])));
    let other_process = format!("/control/models/echo/history?after={last}&started_unix_ms=1");
    let (_, all) = call(&world, "GET", &other_process, "").await;
    assert_eq!(all["plans"].as_array().unwrap().len(), 2, "a number of another process says nothing");

    let (status, answer) = call(&world, "GET", "/control/models/echo/history?after=x", "").await;
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("after"), "{answer}");
    assert_eq!(call(&world, "GET", "/control/models/other/history", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn batches_tell_when_they_opened_why_they_closed_and_how_they_ended() {
    let folder = folder();
    let world = started(folder.path()).await;
    let requests: Vec<_> = (0..4).map(|_| tokio::spawn(world.send())).collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    world.send().await.unwrap();
    tokio::time::sleep(super::ms(100)).await;
    let (status, answer) = call(&world, "GET", "/control/models/echo/batches", "").await;
    let batches = answer["batches"].as_array().unwrap();
    assert_eq!((status, batches.len()), (StatusCode::OK, 2), "{answer}");
    let (full, late) = (&batches[0], &batches[1]);
    assert_eq!(
        (&full["items"], &full["reason"], &full["outcome"]),
        (&json!(4), &json!("full"), &json!("ok"))
    );
    assert_eq!((&late["items"], &late["reason"], &late["attempt"]), (&json!(1), &json!("delay"), &json!(1)));
    let lasts = |batch: &Value, from: &str, to: &str, expected_ms: f64| {
        let ms = (batch[to].as_f64().unwrap() - batch[from].as_f64().unwrap()) * 1e3;
        assert!((ms - expected_ms).abs() < 2.0, "{from} to {to}: {ms} in {batch}"); // a timer's millisecond
    };
    lasts(full, "opened_s", "closed_s", 0.0);
    lasts(full, "closed_s", "ended_s", 40.0);
    lasts(late, "opened_s", "closed_s", 10.0);
    lasts(late, "closed_s", "ended_s", 25.0);
    assert_eq!((&full["memory_mib"], &full["process_count"]), (&json!(1024), &json!(1)));
    assert_eq!((&full["handler_ms"], &full["init_ms"]), (&json!(40.0), &Value::Null));
    assert!(full["cost_usd"].as_f64().unwrap() > 0.0);
    let (_, newest) = call(&world, "GET", "/control/models/echo/batches?limit=1", "").await;
    assert_eq!(newest["batches"].as_array().unwrap().len(), 1);
    assert_eq!(newest["batches"][0]["number"], late["number"]);
    let after = format!("/control/models/echo/batches?after={}", full["number"]);
    assert_eq!(call(&world, "GET", &after, "").await.1["batches"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_surface_is_made_once_a_second_however_many_look() {
    let folder = folder();
    let world = started(folder.path()).await;
    let (status, answer) = call(&world, "GET", "/control/models/echo/surface", "").await;
    assert_eq!((status, &answer["surface"]), (StatusCode::OK, &Value::Null), "nothing is believed yet");
    tokio::time::sleep(super::ms(1500)).await;
    let surface = Surface { batch_sizes: vec![1, 2], places: Vec::new() };
    world.script().surface = Some(surface);
    let before = world.script().surfaces_made;
    for _ in 0..5 {
        let (_, answer) = call(&world, "GET", "/control/models/echo/surface", "").await;
        assert_eq!(answer["surface"]["batch_sizes"], json!([1, 2]), "{answer}");
        assert!(answer["slo_latency_ms"].as_f64() > Some(0.0));
    }
    assert_eq!(world.script().surfaces_made, before + 1);
    assert_eq!(call(&world, "GET", "/control/models/other/surface", "").await.0, StatusCode::NOT_FOUND);
}
