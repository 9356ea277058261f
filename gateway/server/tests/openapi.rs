//! The OpenAPI document against a running gateway, on both listeners: what it names is served as it says, and nothing else is. Bodies against their schemas
//! are the matter of `clients/openapi_document.py`.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

#[expect(dead_code, reason = "the tests of faults use the rest")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use support::{World, echo, request, request_with, world};

const VERBS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Of paths that are there only with `[bulk]`, which this gateway is without.
const TAGS_OF_JOBS: [&str; 3] = ["files", "batches", "jobs"];

/// A path of the document, with its placeholders filled.
struct Path<'a> {
    address: SocketAddr,
    path: String,
    item: &'a Value,
    is_admin: bool,
    is_of_jobs: bool,
}

impl<'a> Path<'a> {
    fn operation(&self, verb: &str) -> Option<&'a Value> {
        self.item.get(verb.to_ascii_lowercase())
    }

    /// Status, head and body.
    async fn send(&self, verb: &str) -> (u16, String, String) {
        let body = if verb == "GET" || verb == "HEAD" { "" } else { "{}" };
        request_with(self.address, verb, &self.path, "", body).await
    }
}

/// A gateway whose control loop knows its model.
async fn served() -> World {
    let world = world("", |call| echo(&call.request, &[])).await;
    for _ in 0..100 {
        if request(world.gateway.admin_address(), "GET", "/control/models/echo", "").await.0 == 200 {
            return world;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the control loop does not show its model");
}

async fn document(world: &World) -> Value {
    let (status, head, body) =
        request_with(world.gateway.public_address(), "GET", "/openapi.json", "", "").await;
    assert_eq!((status, media_type(&head)), (200, Some("application/json")), "{head}");
    serde_json::from_str(&body).unwrap()
}

fn paths<'a>(world: &World, document: &'a Value) -> Vec<Path<'a>> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &'a Value)| {
        let is_admin = item.get("servers").is_some();
        let is_of_jobs = VERBS
            .iter()
            .filter_map(|verb| item.get(verb.to_ascii_lowercase()))
            .any(|operation| operation["tags"][0].as_str().is_some_and(|tag| TAGS_OF_JOBS.contains(&tag)));
        let mut path = path.clone();
        for (placeholder, value) in [
            ("{model}", "echo"),
            ("{version}", "1"),
            ("{name}", "console.css"),
            ("{file_id}", "file-00000000000000000000000000000000"),
            ("{batch_id}", "batch_00000000000000000000000000000000"),
        ] {
            path = path.replace(placeholder, value);
        }
        assert!(!path.contains('{'), "no value for a placeholder of {path}");
        let gateway = &world.gateway;
        let address = if is_admin { gateway.admin_address() } else { gateway.public_address() };
        Path { address, path, item, is_admin, is_of_jobs }
    };
    paths.iter().map(of).collect()
}

fn media_type(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("content-type: "))
}

/// Code of an error in either form.
fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let code = body["code"].as_str().or_else(|| body["error"]["code"].as_str());
    code.unwrap_or_default().to_owned()
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_verb_is_answered_with_a_documented_status_and_media_type() {
    let world = served().await;
    let document = document(&world).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"), "a release changes the document too");
    let mut answered = 0;
    for path in paths(&world, &document) {
        for verb in VERBS {
            let Some(operation) = path.operation(verb) else { continue };
            let (status, head, body) = path.send(verb).await;
            let shown = format!("{verb} {}: {status} {body}", path.path);
            if path.is_of_jobs {
                assert_eq!(status, 404, "there without jobs: {shown}");
                continue;
            }
            assert!(status != 404 && status != 405, "not known: {shown}");
            let answer = &operation["responses"][status.to_string()];
            assert!(answer.is_object(), "not a documented status: {shown}");
            match resolved(&document, answer)["content"].as_object() {
                Some(content) => {
                    let found = media_type(&head).unwrap_or_default();
                    assert!(content.contains_key(found), "not a documented media type: {found:?} of {shown}");
                }
                None => assert!(body.is_empty(), "a body that is not documented: {shown}"),
            }
            answered += 1;
        }
    }
    assert!(answered > 35, "{answered} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_verb_of_a_documented_path_is_answered() {
    let world = served().await;
    let document = document(&world).await;
    for path in paths(&world, &document).into_iter().filter(|path| !path.is_of_jobs) {
        for verb in VERBS.into_iter().filter(|verb| path.operation(verb).is_none()) {
            let (status, _, body) = path.send(verb).await;
            assert_eq!(status, 405, "{verb} {}: {body}", path.path);
            let expected = if path.is_admin { "" } else { "method_not_allowed" };
            assert_eq!(code(&body), expected, "{verb} {}: {body}", path.path);
        }
        let (status, ..) = path.send("HEAD").await;
        assert_eq!(status == 405, path.operation("GET").is_none(), "HEAD {}: {status}", path.path);
    }
}
