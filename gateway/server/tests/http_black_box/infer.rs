//! Good inference requests, in every form.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Gateway, TWO, orders};

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

const BINARY: &str = r#"{"inputs":[{"name":"in_x","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}],
    "parameters":{"binary_data_output":true}}"#;

#[tokio::test]
async fn json_in_json_out() {
    let gateway = Gateway::start().await;
    for path in ["/v2/models/two/infer", "/v2/models/two/versions/1/infer", "/v2/models/t%77o/infer"] {
        let reply = gateway.post(path, &[], TWO.as_bytes()).await;
        assert_eq!(reply.headers["content-type"], "application/json");
        assert_eq!(
            reply.json(),
            json!({
                "model_name": "two", "model_version": "1", "id": "7",
                "outputs": [
                    { "name": "out_a", "datatype": "INT32", "shape": [2, 2, 2], "data": [1, 2, 3, 4, 5, 6, 7, -8] },
                    { "name": "out_b", "datatype": "FP64", "shape": [2], "data": [0.5, 1e300] },
                ],
            })
        );
    }
}

#[tokio::test]
async fn nested_data_and_any_order_of_fields_are_read_alike() {
    let gateway = Gateway::start().await;
    let request = r#"{"outputs":[{"name":"out_b"},{"name":"out_a"}],"unknown":{"deep":[[1]]},"inputs":[
        {"data":[0.5,-1],"name":"in_b","shape":[2],"datatype":"FP64"},
        {"data":[[[1,2],[3,4]],[[5,6],[7,8]]],"datatype":"INT32","shape":[2,2,2],"name":"in_a"}]}"#;
    let body = gateway.infer("two", request).await.json();
    assert_eq!(body["outputs"][0]["name"], "out_b", "outputs come in the order asked for");
    assert_eq!(body["outputs"][1]["data"], json!([1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(body["outputs"][0]["data"], json!([0.5, -1.0]));
}

#[tokio::test]
async fn only_the_outputs_asked_for_come() {
    let gateway = Gateway::start().await;
    let request = TWO.replacen('{', r#"{"outputs":[{"name":"out_b"}],"#, 1);
    let body = gateway.infer("two", &request).await.json();
    assert_eq!(body["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(body["outputs"][0]["name"], "out_b");
}

#[tokio::test]
async fn binary_in_binary_out_is_exact() {
    let gateway = Gateway::start().await;
    let mut values = [0.1_f32; 16];
    values[3] = f32::NAN;
    values[4] = f32::NEG_INFINITY;
    let reply = gateway.infer_binary("identity", BINARY, &floats(&values)).await;
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    let (json, data) = reply.parts();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 64);
    assert_eq!(json["outputs"][0]["shape"], json!([1, 16]));
    assert_eq!(&data[..], floats(&values));
}

#[tokio::test]
async fn json_and_binary_mix_both_ways() {
    let gateway = Gateway::start().await;
    let request = r#"{"inputs":[
        {"name":"in_b","datatype":"FP64","shape":[1],"parameters":{"binary_data_size":8}},
        {"name":"in_a","datatype":"INT32","shape":[1,2,2],"data":[[[9,8],[7,6]]]}],
        "outputs":[{"name":"out_a","parameters":{"binary_data":true}},{"name":"out_b"}]}"#;
    let (json, data) = gateway.infer_binary("two", request, &2.5_f64.to_le_bytes()).await.parts();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 16);
    assert_eq!(json["outputs"][1]["data"], json!([2.5]));
    assert_eq!(
        &data[..],
        [9, 8, 7, 6].iter().flat_map(|value: &i32| value.to_le_bytes()).collect::<Vec<_>>()
    );
    let request = request.replace("\"outputs\"", r#""parameters":{"binary_data_output":true},"outputs""#);
    let (json, data) = gateway.infer_binary("two", &request, &2.5_f64.to_le_bytes()).await.parts();
    assert_eq!(
        json["outputs"][1]["parameters"]["binary_data_size"], 8,
        "the request's default holds where an output is silent"
    );
    assert_eq!(data.len(), 24);
}

#[tokio::test]
async fn byte_strings_travel_as_text_and_as_bytes() {
    let gateway = Gateway::start().await;
    let text = "naïve \"quoted\" \u{0} 🚰 \n";
    let request = json!({ "inputs": [{ "name": "in_text", "datatype": "BYTES", "shape": [2, 1], "data": [[text], [""]] }] });
    let body = gateway.infer("text", &request.to_string()).await.json();
    assert_eq!(body["outputs"][0]["data"], json!([text, ""]));
    let seen = gateway.stand_in.seen.lock().unwrap().pop().unwrap();
    let length = u32::try_from(text.len()).unwrap() + 4;
    assert_eq!(seen.inputs[0].item_ends.as_deref(), Some(&[length, length + 4][..]));

    let head = r#"{"inputs":[{"name":"in_text","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":6}}]}"#;
    gateway.infer_binary("text", head, &[2, 0, 0, 0, 0xff, 0xfe]).await.assert_error(
        422,
        "unrepresentable_output",
        "not UTF-8 at element 0",
    );
    let head = head.replacen('{', r#"{"parameters":{"binary_data_output":true},"#, 1);
    let (_, data) = gateway.infer_binary("text", &head, &[2, 0, 0, 0, 0xff, 0xfe]).await.parts();
    assert_eq!(&data[..], [2, 0, 0, 0, 0xff, 0xfe]);
}

#[tokio::test]
async fn a_raw_binary_body_is_the_only_inputs_data() {
    let gateway = Gateway::start().await;
    let raw = [("inference-header-content-length", "0")];
    let path = |model| format!("/v2/models/{model}/infer");
    let data = floats(&[1.5; 32]);
    let (json, back) = gateway.post(&path("identity"), &raw, &data).await.parts();
    assert_eq!((json["outputs"][0]["shape"].clone(), &back[..]), (json!([2, 16]), &data[..]));
    let (_, back) = gateway.post(&path("text"), &raw, b"hello").await.parts();
    assert_eq!(&back[..], b"\x05\0\0\0hello");
    let (json, _) = gateway.post(&path("variable"), &raw, &[0; 12]).await.parts();
    assert_eq!(json["outputs"][0]["shape"], json!([1, 3, 2]));
    gateway.post(&path("two"), &raw, &data).await.assert_error(400, "invalid_request", "one input");
    gateway.post(&path("identity"), &raw, &data[..63]).await.assert_error(
        400,
        "invalid_request",
        "multiple of 64",
    );
    gateway.post(&path("identity"), &raw, b"").await.assert_error(400, "invalid_request", "multiple of 64");
}

#[tokio::test]
async fn numbers_that_json_cannot_carry_are_refused_by_name() {
    let gateway = Gateway::start().await;
    let request = BINARY.replace("true", "false");
    let mut values = [0.0_f32; 16];
    values[5] = f32::NAN;
    gateway.infer_binary("identity", &request, &floats(&values)).await.assert_error(
        422,
        "unrepresentable_output",
        "output `out_x` is NaN or infinite at element 5",
    );
}

#[tokio::test]
async fn time_out_priority_and_trace_reach_the_driver() {
    let gateway = Gateway::start().await;
    let request =
        TWO.replacen('{', r#"{"parameters":{"timeout":250000,"priority":3,"custom":"kept out"},"#, 1);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let path = "/v2/models/two/infer";
    let headers = [("x-request-timeout-ms", "100"), ("traceparent", trace)];
    assert_eq!(gateway.post(path, &headers, request.as_bytes()).await.status, 200);
    assert_eq!(gateway.post(path, &headers[1..], request.as_bytes()).await.status, 200);
    assert_eq!(gateway.post(path, &[], TWO.as_bytes()).await.status, 200);
    let seen = gateway.stand_in.seen.lock().unwrap();
    let timeouts: Vec<_> = seen.iter().map(|seen| seen.timeout.map(|timeout| timeout.as_millis())).collect();
    assert_eq!(timeouts, [Some(100), Some(250), None], "the shorter of both holds");
    assert_eq!((seen[0].priority, seen[2].priority), (2, 1));
    assert_eq!(seen[0].trace.as_ref().unwrap().context().traceparent(), trace);
    assert!(seen[2].trace.is_none());
}

#[tokio::test]
async fn a_receipt_comes_only_when_asked_for() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.infer("two", TWO).await.json()["parameters"], Value::Null);
    let by_parameter = TWO.replacen('{', r#"{"parameters":{"penstock_receipt":true},"#, 1);
    let by_header = [("penstock-receipt", "1")];
    let replies = [
        gateway.infer("two", &by_parameter).await,
        gateway.post("/v2/models/two/infer", &by_header, TWO.as_bytes()).await,
    ];
    for reply in replies {
        let receipt = &reply.json()["parameters"];
        assert_eq!(receipt["penstock_queue_wait_us"], 1500);
        assert_eq!(receipt["penstock_invoke_us"], 7000);
        assert_eq!(receipt["penstock_batch_items"], 4);
        assert_eq!(receipt["penstock_cold"], true);
        assert_eq!(receipt["penstock_cost_usd"], 2.5e-7);
    }
}

#[tokio::test]
async fn bodies_may_be_compressed_both_ways() {
    let gateway = Gateway::start().await;
    let body = [BINARY.as_bytes(), &floats(&[0.25; 16])].concat();
    let length = BINARY.len().to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&body).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&body).unwrap();
    for (name, compressed) in [("gzip", gzip.finish().unwrap()), ("deflate", zlib.finish().unwrap())] {
        let headers = [("content-encoding", name), ("inference-header-content-length", &length)];
        let reply = gateway.post("/v2/models/identity/infer", &headers, &compressed).await;
        assert_eq!(reply.parts().1, floats(&[0.25; 16]));
    }
    let long = json!({ "inputs": [{ "name": "in_text", "datatype": "BYTES", "shape": [1, 1], "data": ["z".repeat(5000)] }] });
    let headers = [("accept-encoding", "deflate, gzip;q=0.5")];
    let reply = gateway.post("/v2/models/text/infer", &headers, long.to_string().as_bytes()).await;
    assert_eq!(reply.headers["content-encoding"], "gzip");
    assert!(reply.body.len() < 300, "{}", reply.body.len());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&reply.body[..]), &mut text).unwrap();
    assert!(text.contains("zzz"));
    assert!(!gateway.infer("text", &long.to_string()).await.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn failed_items_are_named_one_by_one() {
    let gateway = Gateway::start().await;
    let fail = orders::FAIL;
    let request = |data: String| {
        format!(
            r#"{{"id":"q","inputs":[{{"name":"in_x","datatype":"UINT8","shape":[3,1],"data":[{data}]}}]}}"#
        )
    };
    let reply = gateway.infer("orders", &request(format!("{fail},1,{fail}"))).await;
    reply.assert_error(502, "process_died", "2 of 3 items failed; item 2");
    let body = reply.json();
    assert_eq!(body["id"], "q");
    let codes: Vec<_> =
        body["failed_items"].as_array().unwrap().iter().map(|item| (&item["index"], &item["code"])).collect();
    assert_eq!(codes, [(&json!(0), &json!("invalid_input")), (&json!(2), &json!("process_died"))]);
    assert!(!reply.text().contains("\"outputs\""));
    let shed = gateway.infer("orders", &request(format!("{},1,1", orders::SHED))).await;
    shed.assert_error(503, "queue_full", "full");
    assert_eq!(shed.headers["retry-after"], "3");
    gateway.infer("orders", &request(format!("{},1,1", orders::LATE))).await.assert_error(
        504,
        "deadline_exceeded",
        "",
    );
}
