//! Everything but inference.

use serde_json::json;

use crate::support::{Gateway, TWO};

#[tokio::test]
async fn the_server_names_itself_and_its_extensions() {
    let gateway = Gateway::start().await;
    for path in ["/v2", "/v2/"] {
        let body = gateway.get(path).await.json();
        assert_eq!(body["name"], "penstock");
        assert!(body["version"].is_string());
        let extensions = body["extensions"].as_array().unwrap();
        for needed in ["binary_tensor_data", "statistics", "model_configuration"] {
            assert!(extensions.contains(&json!(needed)), "{needed}");
        }
    }
}

#[tokio::test]
async fn readiness_follows_the_drain_and_liveness_does_not() {
    let gateway = Gateway::start().await;
    let ready = gateway.get("/v2/health/ready").await;
    assert_eq!((ready.status, ready.json()), (200, json!({ "live": true, "ready": true })));
    gateway.readiness.set_draining();
    gateway.get("/v2/health/ready").await.assert_error(503, "draining", "draining");
    gateway.get("/v2/models/two/ready").await.assert_error(503, "not_ready", "two");
    let live = gateway.get("/v2/health/live").await;
    assert_eq!((live.status, live.json()), (200, json!({ "live": true })));
}

#[tokio::test]
async fn a_model_describes_its_tensors_with_the_items_first() {
    let gateway = Gateway::start().await;
    for path in ["/v2/models/two", "/v2/models/two/versions/1", "/v2/models/%74wo"] {
        let body = gateway.get(path).await.json();
        assert_eq!(body["name"], "two");
        assert_eq!(body["versions"], json!(["1"]));
        assert_eq!(body["platform"], "penstock_identity");
        assert_eq!(body["inputs"][0], json!({ "name": "in_a", "datatype": "INT32", "shape": [-1, 2, 2] }));
        assert_eq!(body["outputs"][1], json!({ "name": "out_b", "datatype": "FP64", "shape": [-1] }));
    }
    assert_eq!(
        gateway.get("/v2/models/two/versions/1/ready").await.json(),
        json!({ "name": "two", "ready": true })
    );
}

#[tokio::test]
async fn a_models_configuration_is_what_perf_analyzer_reads() {
    let gateway = Gateway::start().await;
    let body = gateway.get("/v2/models/text/config").await.json();
    assert_eq!(body["max_batch_size"], 32);
    assert_eq!(body["input"], json!([{ "name": "in_text", "data_type": "TYPE_STRING", "dims": [1] }]));
    assert_eq!(body["dynamic_batching"]["max_queue_delay_microseconds"], 2000);
    assert_eq!(body["model_transaction_policy"]["decoupled"], false);
}

#[tokio::test]
async fn statistics_have_every_counter_and_equal_counts_of_the_stages() {
    let gateway = Gateway::start().await;
    for _ in 0..3 {
        assert_eq!(gateway.infer("two", TWO).await.status, 200);
    }
    gateway.infer("two", "{}").await.assert_error(400, "invalid_request", "inputs");
    let body = gateway.get("/v2/models/two/stats").await.json();
    let stats = &body["model_stats"][0];
    assert_eq!((&stats["name"], &stats["version"]), (&json!("two"), &json!("1")));
    for stage in ["success", "queue", "compute_input", "compute_infer", "compute_output"] {
        assert_eq!(stats["inference_stats"][stage]["count"], 3, "{stage}");
        assert!(stats["inference_stats"][stage]["ns"].is_u64(), "{stage}");
    }
    assert_eq!(stats["inference_stats"]["fail"]["count"], 1);
    assert_eq!(stats["inference_stats"]["queue"]["ns"], 3 * 1_500_000);
    for stage in ["cache_hit", "cache_miss"] {
        assert_eq!(stats["inference_stats"][stage], json!({ "count": 0, "ns": 0 }));
    }
    let all = gateway.get("/v2/models/stats").await.json();
    assert_eq!(all["model_stats"].as_array().unwrap().len(), crate::support::models().len());
}

#[tokio::test]
async fn the_repository_index_lists_all_models() {
    let gateway = Gateway::start().await;
    for body in ["", "{}", r#"{"ready":true}"#] {
        let reply = gateway.post("/v2/repository/index", &[], body.as_bytes()).await;
        let models = reply.json();
        assert_eq!(models.as_array().unwrap().len(), crate::support::models().len(), "{body}");
        assert_eq!(models[0], json!({ "name": "all", "version": "1", "state": "READY", "reason": "" }));
    }
    let deep = "[".repeat(250_000);
    gateway.post("/v2/repository/index", &[], deep.as_bytes()).await.assert_error(413, "too_large", "body");
    gateway.post("/v2/repository/index", &[], &deep.as_bytes()[..60_000]).await.assert_error(
        400,
        "invalid_json",
        "",
    );
    gateway.readiness.set_draining();
    let models = gateway.post("/v2/repository/index", &[], b"").await.json();
    assert_eq!(models[0]["state"], "UNAVAILABLE");
    let models = gateway.post("/v2/repository/index", &[], br#"{"ready":true}"#).await.json();
    assert_eq!(models, json!([]));
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let gateway = Gateway::start().await;
    for path in
        ["/v2/models/none", "/v2/models/none/config", "/v2/models/none/stats", "/v2/models/none/ready"]
    {
        gateway.get(path).await.assert_error(404, "unknown_model", "none");
    }
    gateway.get("/v2/models/two/versions/9").await.assert_error(
        404,
        "unknown_version",
        "version `1` is served",
    );
    gateway.infer("none", TWO).await.assert_error(404, "unknown_model", "none");
    gateway.post("/v2/models/two/versions/2/infer", &[], TWO.as_bytes()).await.assert_error(
        404,
        "unknown_version",
        "2",
    );
    gateway.get("/elsewhere").await.assert_error(404, "not_found", "");
    gateway.get("/v2/models/two/infer").await.assert_error(405, "method_not_allowed", "");
    gateway.post("/v2/models/two", &[], b"").await.assert_error(405, "method_not_allowed", "");
}
