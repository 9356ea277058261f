//! The live routes in OpenAI's form.

use std::io::Write as _;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::{Gateway, Reply};

async fn embed(gateway: &Gateway, body: &Value) -> Reply {
    gateway.post("/v1/embeddings", &[], body.to_string().as_bytes()).await
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, param: &Value, code: &str, part_of_text: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    let error = &reply.json()["error"];
    assert_eq!((&error["param"], &error["code"]), (param, &json!(code)), "{error}");
    assert!(error["message"].as_str().unwrap().contains(part_of_text), "{error} lacks {part_of_text:?}");
}

#[tokio::test]
async fn each_text_gets_its_own_vector_in_order() {
    let gateway = Gateway::start().await;
    let reply = embed(&gateway, &json!({ "model": "embedder", "input": ["abc", "z", "hello"] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("list"), &json!("embedder")));
    assert_eq!(body["data"].as_array().unwrap().len(), 3);
    for (index, (length, first)) in [(3.0_f32, 97.0), (1.0, 122.0), (5.0, 104.0)].into_iter().enumerate() {
        let entry = &body["data"][index];
        assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(index)));
        let numbers = entry["embedding"].as_array().unwrap().iter();
        #[expect(clippy::cast_possible_truncation, reason = "they were FP32")]
        let numbers: Vec<f32> = numbers.map(|number| number.as_f64().unwrap() as f32).collect();
        assert_eq!(numbers, [length, first, 0.1, -1.0 / 3.0], "{entry}");
    }
    assert_eq!(body["usage"], json!({ "prompt_tokens": 0, "total_tokens": 0 }), "it has no tokenizer");
    let seen = gateway.stand_in.seen.lock().unwrap();
    assert_eq!((seen.len(), seen[0].items), (1, 3), "one request of three items, for the engine to split");
}

#[tokio::test]
async fn one_text_comes_as_base64_and_through_compression() {
    let gateway = Gateway::start().await;
    let body = json!({ "model": "embedder", "input": "abc", "encoding_format": "base64", "dimensions": 4 });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.to_string().as_bytes()).unwrap();
    let reply =
        gateway.post("/v1/embeddings", &[("content-encoding", "gzip")], &gzip.finish().unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let encoded = reply.json()["data"][0]["embedding"].as_str().unwrap().to_owned();
    let expected: Vec<u8> = [3.0_f32, 97.0, 0.1, -1.0 / 3.0].into_iter().flat_map(f32::to_le_bytes).collect();
    assert_eq!(base64_simd::STANDARD.decode_to_vec(encoded).unwrap(), expected);
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_in_openais_form_and_reaches_no_model() {
    let gateway = Gateway::start().await;
    let null = Value::Null;
    for (body, status, param, code, text) in [
        (json!({ "model": "nobody", "input": "a" }), 404, json!("model"), "model_not_found", "`nobody`"),
        (
            json!({ "model": "identity", "input": "a" }),
            400,
            json!("model"),
            "invalid_request",
            "does not embed",
        ),
        (
            json!({ "model": "embedder", "input": [1, 2] }),
            400,
            json!("input"),
            "invalid_request",
            "token ids",
        ),
        (json!({ "model": "embedder", "input": "" }), 400, json!("input"), "invalid_request", "empty"),
        (
            json!({ "model": "embedder", "input": "a", "dimensions": 2 }),
            400,
            json!("dimensions"),
            "invalid_request",
            "have 4",
        ),
        (json!({ "model": "embedder" }), 400, null, "invalid_request", "missing field `input`"),
    ] {
        assert_refused(&embed(&gateway, &body).await, status, &param, code, text);
    }
    let reply = gateway.post("/v1/embeddings", &[], b"{\"model\":").await;
    assert_refused(&reply, 400, &Value::Null, "invalid_json", "malformed JSON");
    assert_refused(&gateway.get("/v1/nothing").await, 404, &Value::Null, "not_found", "no such route");
    assert_refused(&gateway.get("/v1/embeddings").await, 405, &Value::Null, "method_not_allowed", "method");
    assert!(gateway.stand_in.seen.lock().unwrap().is_empty());
    assert_eq!(gateway.stand_in.waiting.load(Ordering::SeqCst), 0);
    assert_eq!(gateway.counts.codes.lock().unwrap()["unknown_model"], 1, "counted like any request");
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn models_are_listed_with_what_they_embed() {
    let gateway = Gateway::start().await;
    let list = gateway.get("/v1/models").await.json();
    let models = list["data"].as_array().unwrap();
    assert_eq!(
        (&list["object"], models.len()),
        (&json!("list"), gateway.state.registry.load().iter().count())
    );
    let one = gateway.get("/v1/models/embedder").await.json();
    assert!(models.contains(&one));
    assert_eq!(
        (&one["id"], &one["object"], &one["embeds"], &one["dimensions"]),
        (&json!("embedder"), &json!("model"), &json!(true), &json!(4))
    );
    assert_eq!(gateway.get("/v1/models/two").await.json()["embeds"], json!(false));
    let missing = gateway.get("/v1/models/nobody").await;
    assert_refused(&missing, 404, &json!("model"), "model_not_found", "nobody");
}
