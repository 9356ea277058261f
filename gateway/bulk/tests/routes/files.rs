//! `/v1/files`

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use crate::support::{World, form};

#[tokio::test]
async fn a_file_is_kept_as_it_was_sent() {
    let world = World::start(Duration::ZERO).await;
    let data: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let (status, file) = world.upload("batch", &data).await;
    assert_eq!(status, 200, "{file}");
    assert_eq!(
        (&file["bytes"], &file["filename"], &file["purpose"]),
        (&json!(300_000), &json!("b.jsonl"), &json!("batch"))
    );
    assert!(file["expires_at"].as_i64().unwrap() > file["created_at"].as_i64().unwrap());
    let id = file["id"].as_str().unwrap();
    let (status, again) =
        world.call(Method::GET, &format!("/v1/files/{id}/content"), "", Body::empty()).await;
    assert!(status == 200 && again == data);
    assert_eq!(world.get(&format!("/v1/files/{id}")).await, (200, file.clone()));
    assert_eq!(world.get("/v1/files").await.1["data"], json!([file]));
    assert_eq!(world.get("/v1/files?purpose=batch_output").await.1["data"], json!([]));
    let (status, deleted) = world.json(Method::DELETE, &format!("/v1/files/{id}"), &Value::Null).await;
    assert_eq!((status, &deleted["deleted"]), (200, &json!(true)));
    assert_eq!(world.get(&format!("/v1/files/{id}")).await.0, 404);
    assert_eq!(
        std::fs::read_dir(world.folder.path().join("files")).unwrap().count(),
        0,
        "the bytes are gone too"
    );
}

#[tokio::test]
async fn forms_that_do_not_fit_are_refused_and_leave_nothing() {
    let world = World::start(Duration::ZERO).await;
    let big = vec![b'x'; (1 << 20) + 1];
    for (fields, status, code) in [
        (vec![("purpose", None, &b"batch"[..]), ("file", Some("f"), &big[..])], 413, "too_large"),
        (
            vec![("file", Some("f"), &b"data"[..]), ("purpose", None, &b"fine-tune"[..])],
            400,
            "invalid_request",
        ),
        (vec![("purpose", None, &b"batch"[..])], 400, "invalid_request"),
        (vec![("file", Some("f"), &b"data"[..])], 400, "invalid_request"),
        (vec![("purpose", None, &b"batch"[..]), ("file", Some("f"), &b""[..])], 400, "invalid_request"),
        (vec![("other", None, &b"x"[..])], 400, "invalid_request"),
        (vec![("expires_after[seconds]", None, &b"5"[..])], 400, "invalid_request"),
    ] {
        let (content, body) = form(&fields);
        let (got, answer) = world.call(Method::POST, "/v1/files", &content, body).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{answer}");
    }
    for folder in ["files", "uploads"] {
        assert_eq!(std::fs::read_dir(world.folder.path().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[tokio::test]
async fn all_files_together_have_a_bound() {
    let world = World::start(Duration::ZERO).await;
    let part = vec![b'x'; (1 << 20) - 10];
    for _ in 0..4 {
        assert_eq!(world.upload("batch", &part).await.0, 200);
    }
    let (status, answer) = world.upload("batch", &part).await;
    assert_eq!((status, &answer["error"]["code"]), (507, &json!("storage_full")));
}

#[tokio::test]
async fn a_sender_that_falls_silent_is_given_up_and_its_part_removed() {
    let world = World::start(Duration::ZERO).await;
    let (content, body) =
        form(&[("purpose", None, b"batch"), ("file", Some("f"), b"some data that is never finished")]);
    let (mut sender, receiver) = tokio::io::duplex(4096);
    sender.write_all(&body[..body.len() - 30]).await.unwrap();
    let body = Body::from_stream(ReaderStream::new(receiver));
    let (status, _) = world.call(Method::POST, "/v1/files", &content, body).await;
    assert_eq!(status, 408);
    assert_eq!(std::fs::read_dir(world.folder.path().join("uploads")).unwrap().count(), 0);
    drop(sender);
}
