//! The admin routes against a running loop.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use optimizer_tuner::Command;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::folder;
use super::world::{Script, World, eventually};
use crate::control::routes::router;

async fn call(world: &World, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
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
