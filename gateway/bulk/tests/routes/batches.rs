//! `/v1/batches`

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{World, line};

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| line(&format!("l{number}"), &json!(number))).collect()
}

/// Asserts that an output file holds each of `count` lines once, with its own answer.
#[track_caller]
fn assert_each_once(answers: &[Value], count: usize) {
    let ids: BTreeSet<&str> = answers.iter().map(|answer| answer["custom_id"].as_str().unwrap()).collect();
    assert_eq!((answers.len(), ids.len()), (count, count));
    for answer in answers {
        let number: f64 = answer["custom_id"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!(answer["response"]["body"], json!({ "number": number }), "{answer}");
    }
}

#[tokio::test]
async fn every_line_is_answered_once() {
    let world = World::start(Duration::from_millis(1)).await;
    let id = world.batch(&lines(50)).await;
    let batch = world.end(&id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(batch["request_counts"], json!({ "total": 50, "completed": 50, "failed": 0 }));
    assert_eq!((&batch["error_file_id"], &batch["errors"]), (&Value::Null, &Value::Null));
    assert!(batch["completed_at"].as_i64() >= batch["created_at"].as_i64());
    assert!(batch["penstock"]["cost_usd"].as_f64().unwrap() > 0.0);
    assert_each_once(&world.content(&batch["output_file_id"]).await, 50);
    assert!(world.function.calls.load(Ordering::SeqCst) >= 13, "at most four lines an invocation");
    world.service.stop().await;
    assert_eq!(*world.gateway.ended.lock().unwrap(), [gateway_bulk::JobState::Completed]);
    assert_eq!(world.gateway.lines.load(Ordering::SeqCst), 50, "counted once");
}

#[tokio::test]
async fn a_batch_takes_the_chunk_that_live_traffic_taught() {
    let world = World::start(Duration::from_millis(1)).await;
    *world.gateway.suits.lock().unwrap() = Some((50, 10));
    let id = world.batch(&lines(50)).await;
    let batch = world.end(&id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_each_once(&world.content(&batch["output_file_id"]).await, 50);
    assert_eq!(world.function.calls.load(Ordering::SeqCst), 5, "ten lines an invocation");
}

#[tokio::test]
async fn bad_lines_fail_the_whole_batch_with_their_numbers() {
    let world = World::start(Duration::ZERO).await;
    let good = line("a", &json!(1));
    for (lines, at, code) in [
        (vec![good.clone(), line("b", &json!(1)), good.clone()], 3, "duplicate_custom_id"),
        (vec![good.clone(), "{".to_owned()], 2, "invalid_json_line"),
        (vec![good.clone(), line("b", &json!("text"))], 2, "invalid_request"),
    ] {
        let id = world.batch(&lines).await;
        let batch = world.end(&id).await;
        assert_eq!(batch["status"], "failed", "{batch}");
        let first = &batch["errors"]["data"][0];
        assert_eq!((&first["line"], &first["code"]), (&json!(at), &json!(code)), "{batch}");
        assert_eq!((&batch["output_file_id"], &batch["error_file_id"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(world.function.calls.load(Ordering::SeqCst), 0, "nothing was run, nothing billed");
}

#[tokio::test]
async fn what_cannot_run_is_refused_when_it_is_created() {
    let world = World::start(Duration::ZERO).await;
    let file = world.upload("batch", lines(1)[0].as_bytes()).await.1["id"].clone();
    for (other, status, param) in [
        (json!({ "endpoint": "/v1/chat/completions" }), 400, "endpoint"),
        (json!({ "endpoint": "/v2/models/nobody/infer" }), 404, "endpoint"),
        (json!({ "endpoint": "/v1/embeddings" }), 400, "input_file_id"),
        (json!({ "completion_window": "1s" }), 400, "completion_window"),
        (json!({ "metadata": { "key": "v".repeat(600) } }), 400, "metadata"),
        (json!({ "input_file_id": "file-x" }), 404, "id"),
        (json!({ "model": "echo" }), 400, "body"),
    ] {
        let mut body = json!({ "input_file_id": file });
        body.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        let (got, answer) = world.create(&body).await;
        assert_eq!((got, answer["error"]["param"].as_str()), (status, Some(param)), "{answer}");
    }
    assert_eq!(world.get("/v1/batches").await.1["data"], json!([]));
}

#[tokio::test]
async fn another_tokens_ids_are_not_found() {
    let mut world = World::start(Duration::ZERO).await;
    let id = world.batch(&lines(2)).await;
    let batch = world.end(&id).await;
    let (file, output) = (batch["input_file_id"].clone(), batch["output_file_id"].clone());
    world.token = "sk-two";
    let path = |kind: &str, id: &Value| format!("/v1/{kind}/{}", id.as_str().unwrap());
    for path in [path("batches", &batch["id"]), path("files", &file), path("files", &output) + "/content"] {
        assert_eq!(world.get(&path).await.0, 404, "{path}");
    }
    assert_eq!(world.json(Method::DELETE, &path("files", &file), &Value::Null).await.0, 404);
    assert_eq!(
        world.json(Method::POST, &(path("batches", &batch["id"]) + "/cancel"), &Value::Null).await.0,
        404
    );
    assert_eq!(world.create(&json!({ "input_file_id": file })).await.0, 404);
    for list in ["/v1/batches", "/v1/files"] {
        assert_eq!(world.get(list).await.1["data"], json!([]));
    }
}

#[tokio::test]
async fn a_cancelled_batch_ends_soon_and_keeps_what_was_answered() {
    let world = World::start(Duration::from_millis(30)).await;
    let id = world.batch(&lines(2000)).await;
    world.wait(&id, |batch| batch["request_counts"]["completed"].as_u64().unwrap() > 0).await;
    let cancel = format!("/v1/batches/{id}/cancel");
    let (status, batch) = world.json(Method::POST, &cancel, &Value::Null).await;
    assert_eq!((status, &batch["status"]), (200, &json!("cancelling")));
    let batch = world.end(&id).await;
    assert_eq!(batch["status"], "cancelled", "{batch}");
    let answers = world.content(&batch["output_file_id"]).await;
    assert_eq!(batch["request_counts"]["completed"], answers.len());
    assert!(!answers.is_empty() && answers.len() < 2000);
    assert_each_once(&answers, answers.len());
    assert_eq!(world.json(Method::POST, &cancel, &Value::Null).await.0, 409, "it has ended");
    assert_eq!(world.gateway.cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_batch_that_waits_for_its_turn_is_cancelled_at_once() {
    let world = World::start(Duration::from_millis(200)).await;
    let busy = [world.batch(&lines(400)).await, world.batch(&lines(400)).await];
    for id in &busy {
        world.wait(id, |batch| batch["status"] == "in_progress").await;
    }
    let id = world.batch(&lines(10)).await;
    let (status, _) = world.json(Method::POST, &format!("/v1/batches/{id}/cancel"), &Value::Null).await;
    assert_eq!(status, 200);
    let batch = world.end(&id).await;
    assert_eq!(batch["status"], "cancelled");
    for id in &busy {
        assert_eq!(world.get(&format!("/v1/batches/{id}")).await.1["status"], "in_progress");
    }
}

#[tokio::test]
async fn the_next_process_finishes_what_a_stopped_one_began() {
    let world = World::start(Duration::from_millis(20)).await;
    let id = world.batch(&lines(300)).await;
    world.wait(&id, |batch| batch["request_counts"]["completed"].as_u64().unwrap() > 20).await;
    let World { folder, service, .. } = world;
    service.stop().await;
    let world = World::start_in(folder, Duration::from_millis(1)).await;
    let before =
        world.get(&format!("/v1/batches/{id}")).await.1["request_counts"]["completed"].as_u64().unwrap();
    assert!(before > 20 && before < 300, "{before}");
    let batch = world.end(&id).await;
    assert_eq!(batch["request_counts"], json!({ "total": 300, "completed": 300, "failed": 0 }));
    assert_each_once(&world.content(&batch["output_file_id"]).await, 300);
    world.service.stop().await;
    let counted = world.gateway.lines.load(Ordering::SeqCst);
    assert!(
        counted <= 300 - usize::try_from(before).unwrap(),
        "what the first process counted is not counted again"
    );
}

#[tokio::test]
async fn a_batch_whose_model_has_gone_holds_up_no_other_and_can_be_cancelled() {
    let world = World::start(Duration::from_millis(50)).await;
    let id = world.batch(&lines(400)).await;
    world.wait(&id, |batch| batch["request_counts"]["completed"].as_u64().unwrap() > 0).await;
    let World { folder, service, .. } = world;
    service.stop().await;
    let world = World::start_with(folder, Duration::from_millis(1), true).await;
    assert_eq!(world.get(&format!("/v1/batches/{id}")).await.1["status"], "in_progress");
    world.json(Method::POST, &format!("/v1/batches/{id}/cancel"), &Value::Null).await;
    assert_eq!(world.end(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn the_input_of_a_batch_that_runs_cannot_be_deleted() {
    let world = World::start(Duration::from_millis(100)).await;
    let id = world.batch(&lines(200)).await;
    let file = world.get(&format!("/v1/batches/{id}")).await.1["input_file_id"].clone();
    let path = format!("/v1/files/{}", file.as_str().unwrap());
    assert_eq!(world.json(Method::DELETE, &path, &Value::Null).await.0, 409);
    world.json(Method::POST, &format!("/v1/batches/{id}/cancel"), &Value::Null).await;
    world.end(&id).await;
    assert_eq!(world.json(Method::DELETE, &path, &Value::Null).await.0, 200);
}

#[tokio::test]
async fn batches_are_listed_newest_first_in_pages() {
    let world = World::start(Duration::ZERO).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, world.batch(&lines(1)).await);
        tokio::time::sleep(Duration::from_millis(2)).await; // rows of one millisecond have no order of creation
    }
    let of = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|batch| batch["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = world.get("/v1/batches?limit=2").await.1;
    assert_eq!((of(&page), &page["has_more"]), (ids[..2].to_vec(), &json!(true)));
    let page = world.get(&format!("/v1/batches?limit=2&after={}", ids[1])).await.1;
    assert_eq!((of(&page), &page["has_more"]), (ids[2..].to_vec(), &json!(false)));
    assert_eq!(world.get("/v1/batches?after=batch_x").await.0, 404);
}
