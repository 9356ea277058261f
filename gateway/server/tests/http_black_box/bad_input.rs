//! Bad requests: each is refused with the field named, before any batch, and nothing else is touched.

use serde_json::json;

use crate::support::{Gateway, TWO, orders};
use gateway_server::http::HttpConfig;

/// A request to model `identity` with the given fields of its only input.
fn identity(fields: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"in_x",{fields}}}]}}"#)
}

const ZEROS: &str = "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]";

#[tokio::test]
async fn malformed_json_is_refused_with_its_position() {
    let gateway = Gateway::start().await;
    let cases = [
        ("", "line 1 column 0"),
        ("nonsense", "line 1 column"),
        ("{", "line 1 column 1"),
        ("[]", "an inference request, as an object"),
        ("null", "an inference request"),
        (r#"{"inputs":[]} trailing"#, "trailing characters at line 1 column 15"),
        (
            r#"{"inputs":[{"name":"in_x","datatype":"FP32","shape":[1,16],"data":[NaN]}]}"#,
            "`inputs[0].data`: malformed JSON",
        ),
        (
            r#"{"inputs":[{"name":"in_x","datatype":"FP32","shape":[1,16],"data":[1e999]}]}"#,
            "number out of range",
        ),
        (
            r#"{"inputs":[{"name":"in_x","datatype":"FP32","shape":[1,16],"data":[Infinity]}]}"#,
            "`inputs[0].data`",
        ),
        (r#"{"inputs":[{"name":"in_x","datatype":"FP32","shape":[1,16],"data":[01]}]}"#, "invalid number"),
        ("{\"id\":\"\u{1}\"}", "control character"),
    ];
    for (body, part) in cases {
        let reply = gateway.infer("identity", body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().contains(part), "{body}: {} lacks {part}", reply.text());
    }
    let reply = gateway.post("/v2/models/text/infer", &[], b"{\"id\":\"\xff\xfe\"}").await;
    reply.assert_error(400, "invalid_json", "unicode");
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn structure_is_checked_by_field() {
    let gateway = Gateway::start().await;
    let good = format!(r#"{{"name":"in_x","datatype":"FP32","shape":[1,16],"data":{ZEROS}}}"#);
    let cases = [
        ("{}".to_owned(), "`inputs` is missing"),
        (r#"{"inputs":{}}"#.to_owned(), "`inputs`: invalid type"),
        (r#"{"inputs":[1]}"#.to_owned(), "`inputs[0]`: invalid type"),
        (r#"{"inputs":[]}"#.to_owned(), "`inputs` lacks `in_x`"),
        (r#"{"inputs":[{}]}"#.to_owned(), "`inputs[0].name` is missing"),
        (identity(r#""shape":[1,16],"data":[]"#), "`inputs[0].datatype` is missing"),
        (identity(&format!(r#""datatype":"FP32","data":{ZEROS}"#)), "`inputs[0].shape` is missing"),
        (identity(r#""datatype":"FP32","shape":[1,16]"#), "`inputs[0].data` is missing"),
        (identity(r#""datatype":32,"shape":[1,16],"data":[]"#), "`inputs[0].datatype`: invalid type"),
        (identity(r#""datatype":"FP32","shape":16,"data":[]"#), "`inputs[0].shape`: invalid type"),
        (identity(r#""datatype":"FP32","shape":[1.0,16],"data":[]"#), "a dimension must be an integer"),
        (identity(r#""datatype":"FP32","shape":["1",16],"data":[]"#), "a dimension must be an integer"),
        (format!(r#"{{"inputs":[{good},{good}]}}"#), "`inputs[1].name` `in_x` appears twice"),
        (format!(r#"{{"inputs":[{good}],"inputs":[{good}]}}"#), "`inputs` appears twice"),
        (identity(r#""name":"in_x","datatype":"FP32""#), "`inputs[0].name` appears twice"),
        (format!(r#"{{"id":"a","id":"b","inputs":[{good}]}}"#), "`id` appears twice"),
        (format!(r#"{{"id":7,"inputs":[{good}]}}"#), "`id`: invalid type"),
        (
            format!(r#"{{"inputs":[{}]}}"#, good.replace("in_x", "other")),
            "`inputs[0].name` `other` is no input of the model",
        ),
        (
            format!(r#"{{"inputs":[{good}],"outputs":[{{"name":"other"}}]}}"#),
            "`outputs[0].name` `other` is no output",
        ),
        (
            format!(r#"{{"inputs":[{good}],"outputs":[{{"name":"out_x"}},{{"name":"out_x"}}]}}"#),
            "`outputs[1].name` `out_x` appears twice",
        ),
        (format!(r#"{{"inputs":[{good}],"outputs":[{{}}]}}"#), "`outputs[0].name` is missing"),
        (
            format!(r#"{{"inputs":[{good}],"outputs":[{}]}}"#, vec![r#"{"name":"out_x"}"#; 100].join(",")),
            "`outputs` has more than 64 entries",
        ),
        (
            format!(r#"{{"inputs":[{good}],"parameters":{{"timeout":-1}}}}"#),
            "`parameters` `timeout` must be an integer",
        ),
        (
            format!(r#"{{"inputs":[{good}],"parameters":{{"timeout":"1"}}}}"#),
            "`parameters` `timeout` must be an integer",
        ),
        (
            format!(r#"{{"inputs":[{good}],"parameters":{{"priority":1,"priority":2}}}}"#),
            "`parameters` has `priority` twice",
        ),
        (
            format!(r#"{{"inputs":[{good}],"parameters":{{"binary_data_output":1}}}}"#),
            "`binary_data_output` must be `true` or `false`",
        ),
        (
            format!(r#"{{"inputs":[{good}],"parameters":{{"sequence_id":5}}}}"#),
            "`sequence_id` is not supported",
        ),
        (
            format!(
                r#"{{"inputs":[{good}],"outputs":[{{"name":"out_x","parameters":{{"classification":3}}}}]}}"#
            ),
            "`classification` is not supported",
        ),
        (
            identity(r#""datatype":"FP32","shape":[1,16],"parameters":{"shared_memory_region":"r"}"#),
            "`shared_memory_region` is not supported",
        ),
    ];
    for (body, part) in cases {
        gateway.infer("identity", &body).await.assert_error(400, "invalid_request", part);
    }
    let both = identity(&format!(
        r#""datatype":"FP32","shape":[1,16],"data":{ZEROS},"parameters":{{"binary_data_size":64}}"#
    ));
    gateway.infer("identity", &both).await.assert_error(400, "invalid_request", "exclude each other");
    gateway.assert_unharmed().await;
    assert_eq!(gateway.stand_in.seen.lock().unwrap().len(), 1, "only the good one was submitted");
}

#[tokio::test]
async fn tensors_must_fit_themselves_and_their_model() {
    let gateway = Gateway::start().await;
    let cases = [
        (r#""datatype":"FP99","shape":[1,16],"data":[]"#, "`inputs[0].datatype` is `FP99`"),
        (
            r#""datatype":"INT32","shape":[1,1],"data":[1]"#,
            "`inputs[0].datatype` is INT32, the model takes FP32",
        ),
        (
            r#""datatype":"FP32","shape":[1,2],"data":[1,2]"#,
            "`inputs[0].shape` is [1, 2], the model takes [items, 16]",
        ),
        (
            r#""datatype":"FP32","shape":[2],"data":[1,2]"#,
            "`inputs[0].shape` is [2], the model takes [items, 16]",
        ),
        (r#""datatype":"FP32","shape":[],"data":[1]"#, "the model takes [items, 16]"),
        (
            r#""datatype":"FP32","shape":[-1,16],"data":[]"#,
            "`inputs[0].shape` has a negative size at dimension 0",
        ),
        (r#""datatype":"FP32","shape":[1,-16],"data":[]"#, "negative size at dimension 1"),
        (r#""datatype":"FP32","shape":[0,16],"data":[]"#, "`inputs[0].shape` has no items"),
        (
            r#""datatype":"FP32","shape":[4294967296,4294967296],"data":[]"#,
            "`inputs[0].shape` has a product that overflows",
        ),
        (r#""datatype":"FP32","shape":[9223372036854775807,2,2],"data":[]"#, "product that overflows"),
        (r#""datatype":"FP32","shape":[1,1,1,1,1,1,1,1,1,1],"data":[1]"#, "more than 9 dimensions"),
        (
            r#""datatype":"FP32","shape":[1,16],"data":[1,2,3]"#,
            "`inputs[0].data` has 3 elements, its shape says 16",
        ),
        (r#""datatype":"FP32","shape":[1,2],"data":[1,2,3]"#, "has more than the 2 elements of its shape"),
        (
            r#""datatype":"FP32","shape":[2,2],"data":[[1,2],[3]]"#,
            "is ragged: an array at depth 1 has 1 entries, the shape says 2",
        ),
        (r#""datatype":"FP32","shape":[2,2],"data":[[1,2,3],[4]]"#, "is ragged"),
        (r#""datatype":"FP32","shape":[2,2],"data":[1,2,[3,4]]"#, "is ragged"),
        (r#""datatype":"FP32","shape":[2,2],"data":[[1,2],3,4]"#, "is ragged"),
        (r#""datatype":"FP32","shape":[2,2],"data":[[[1],[2]],[[3],[4]]]"#, "is ragged"),
        (
            r#""datatype":"FP32","shape":[3,2],"data":[[1,2],[3,4]]"#,
            "is ragged: an array at depth 0 has 2 entries",
        ),
        (
            r#""datatype":"FP32","shape":[1,2],"data":["1",2]"#,
            "element 0 must be a number for FP32, not a string",
        ),
        (
            r#""datatype":"FP32","shape":[1,2],"data":[1,null]"#,
            "element 1 must be a number for FP32, not null",
        ),
        (
            r#""datatype":"FP32","shape":[1,2],"data":[1,true]"#,
            "element 1 must be a number for FP32, not true",
        ),
        (
            r#""datatype":"FP32","shape":[1,2],"data":[{},1]"#,
            "element 0 must be a number for FP32, not an object",
        ),
        (r#""datatype":"FP32","shape":[1,2],"data":[1,1e39]"#, "out of range for FP32"),
        (r#""datatype":"FP32","shape":[1,2],"data":7"#, "`inputs[0].data` must be an array"),
        (
            r#""datatype":"INT8","shape":[1,2],"data":[127,128]"#,
            "`inputs[0].data` element 1: 128 is out of range for INT8",
        ),
        (r#""datatype":"UINT8","shape":[1,2],"data":[-1,1]"#, "element 0: -1 is out of range for UINT8"),
        (
            r#""datatype":"INT32","shape":[1,2],"data":[1,2.0]"#,
            "element 1 must be an integer for INT32, not 2",
        ),
        (
            r#""datatype":"UINT64","shape":[1,1],"data":[18446744073709551616]"#,
            "must be an integer for UINT64",
        ),
        (r#""datatype":"BOOL","shape":[1,1],"data":[1]"#, "must be `true` or `false` for BOOL"),
        (r#""datatype":"BYTES","shape":[1,1],"data":[1]"#, "must be a string for BYTES"),
        (r#""datatype":"FP16","shape":[1,1],"data":[1]"#, "FP16 has no JSON form"),
        (r#""data":[[1,2],[3]],"datatype":"FP32","shape":[2,2]"#, "is ragged"),
    ];
    for (fields, part) in cases {
        let reply = gateway.infer("identity", &identity(fields)).await;
        reply.assert_error(422, "invalid_tensor", part);
    }
    let unequal = TWO.replace("\"shape\":[2],\"data\":[0.5,1e300]", "\"shape\":[1],\"data\":[0.5]");
    gateway.infer("two", &unequal).await.assert_error(
        422,
        "invalid_tensor",
        "`inputs[1].shape` has 1 items, the inputs before it have 2",
    );
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn binary_data_must_be_framed_exactly() {
    let gateway = Gateway::start().await;
    let head = |size: &str| {
        identity(&format!(r#""datatype":"FP32","shape":[1,16],"parameters":{{"binary_data_size":{size}}}"#))
    };
    let tail = [0_u8; 64];
    let cases: [(&str, usize, u16, &str); 7] = [
        ("64", 63, 400, "`binary_data_size` is 64, only 63 bytes are left"),
        ("64", 0, 400, "only 0 bytes are left"),
        ("63", 63, 422, "needs 64 bytes for its shape and datatype, has 63"),
        ("63", 64, 422, "needs 64 bytes for its shape and datatype, has 63"),
        ("-64", 64, 400, "`binary_data_size` must be an integer that is not negative"),
        ("18446744073709551615", 64, 400, "`binary_data_size` is 18446744073709551615"),
        ("0", 0, 422, "needs 64 bytes for its shape and datatype, has 0"),
    ];
    for (size, sent, status, part) in cases {
        let reply = gateway.infer_binary("identity", &head(size), &tail[..sent]).await;
        assert_eq!(reply.status, status, "{size} {sent}: {}", reply.text());
        assert!(
            reply.text().replace(".parameters", "").contains(part.trim_start_matches('`')),
            "{}",
            reply.text()
        );
    }
    let longer = [0_u8; 65];
    gateway.infer_binary("identity", &head("64"), &longer).await.assert_error(
        400,
        "invalid_request",
        "1 bytes more",
    );
    for (length, part) in [
        ("100000", "is 100000, the body has"),
        ("-1", "one integer"),
        ("x", "one integer"),
        ("99999999999999999999", "one integer"),
    ] {
        let reply = gateway
            .post("/v2/models/identity/infer", &[("inference-header-content-length", length)], b"{}")
            .await;
        reply.assert_error(400, "invalid_request", part);
    }
    let head = r#"{"inputs":[{"name":"in_text","datatype":"BYTES","shape":[2,1],"parameters":{"binary_data_size":9}}]}"#;
    for data in [
        [200_u8, 0, 0, 0, b'a', 0, 0, 0, 0],
        [5, 0, 0, 0, 1, 2, 3, 4, 5],
        [255, 255, 255, 255, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 9],
    ] {
        gateway.infer_binary("text", head, &data).await.assert_error(
            422,
            "invalid_tensor",
            "`in_text` element",
        );
    }
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn too_much_of_anything_is_413() {
    let config = HttpConfig {
        max_body_bytes: 100_000,
        max_decoded_bytes: 200_000,
        max_elements: 1000,
        max_items: 50,
        max_body_chunks: 100,
        ..HttpConfig::default()
    };
    let gateway = Gateway::start_with(config).await;
    gateway.infer("identity", &" ".repeat(100_001)).await.assert_error(
        413,
        "too_large",
        "exceeds 100000 bytes",
    );
    let mut client = gateway.connect().await;
    let reply = client
        .send(
            "POST /v2/models/identity/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
            b"",
        )
        .await;
    reply.assert_error(413, "too_large", "exceeds 100000 bytes");
    let items =
        identity(&format!(r#""datatype":"FP32","shape":[51,16],"data":[{}]"#, vec!["0"; 51 * 16].join(",")));
    gateway.infer("identity", &items).await.assert_error(413, "too_large", "`inputs[0].shape` has 51 items");
    let elements = identity(r#""datatype":"FP32","shape":[1,1001],"data":[]"#);
    gateway.infer("identity", &elements).await.assert_error(
        413,
        "too_large",
        "`inputs[0].shape` has 1001 elements",
    );
    let chunked = "POST /v2/models/identity/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let flood = "1\r\n \r\n".repeat(200);
    gateway.connect().await.send(chunked, flood.as_bytes()).await.assert_error(
        413,
        "too_large",
        "more than 100 chunks",
    );
    let fat = format!("{:x}\r\n{}\r\n", 60_000, " ".repeat(60_000)).repeat(2);
    gateway.connect().await.send(chunked, fat.as_bytes()).await.assert_error(
        413,
        "too_large",
        "exceeds 100000 bytes",
    );
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn chunked_bodies_within_bounds_are_read() {
    let gateway = Gateway::start().await;
    let (first, second) = TWO.split_at(40);
    let chunks = [first, second].map(|part| format!("{:x}\r\n{part}\r\n", part.len())).concat() + "0\r\n\r\n";
    let head = "POST /v2/models/two/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(gateway.connect().await.send(head, chunks.as_bytes()).await.status, 200);
    let broken = gateway.connect().await.send(head, b"zz\r\nnonsense\r\n").await;
    assert_eq!(broken.status, 400, "{}", broken.text());
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn compressed_bombs_and_unknown_encodings_are_refused() {
    use std::io::Write;
    let gateway =
        Gateway::start_with(HttpConfig { max_decoded_bytes: 1 << 20, ..HttpConfig::default() }).await;
    let path = "/v2/models/identity/infer";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; 64 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    let replies = gateway.post(path, &[("content-encoding", "gzip")], &bomb).await;
    replies.assert_error(413, "too_large", "decompressed body exceeds");
    gateway.post(path, &[("content-encoding", "gzip")], b"no gzip").await.assert_error(
        400,
        "invalid_request",
        "not valid gzip",
    );
    gateway.post(path, &[("content-encoding", "deflate")], b"no zlib").await.assert_error(
        400,
        "invalid_request",
        "not valid deflate",
    );
    for encoding in ["br", "gzip, gzip", "zstd"] {
        let reply = gateway.post(path, &[("content-encoding", encoding)], b"{}").await;
        reply.assert_error(415, "unsupported_encoding", "Content-Encoding");
    }
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn deep_nesting_is_refused_wherever_it_stands() {
    let gateway = Gateway::start().await;
    let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let top = |value: &str| format!(r#"{{"extra":{value},{}"#, &TWO[1..]);
    assert_eq!(gateway.infer("two", &top(&nest(99))).await.status, 200, "100 levels with the request itself");
    for depth in [100, 101, 120, 200, 250_000] {
        let reply = gateway.infer("two", &top(&nest(depth))).await;
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (400, &json!("invalid_json")),
            "{depth}: {}",
            reply.text()
        );
    }
    let objects = "{\"a\":".repeat(300) + "1" + &"}".repeat(300);
    assert_eq!(gateway.infer("two", &top(&objects)).await.status, 400);
    for depth in [3, 300, 250_000] {
        let before = identity(&format!(r#""datatype":"FP32","shape":[1,16],"data":{}"#, nest(depth)));
        let after = identity(&format!(r#""data":{},"datatype":"FP32","shape":[1,16]"#, nest(depth)));
        for body in [before, after] {
            gateway.infer("identity", &body).await.assert_error(
                422,
                "invalid_tensor",
                "`inputs[0].data` is ragged",
            );
        }
    }
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn a_panic_is_answered_and_kept_to_its_request() {
    let gateway = Gateway::start().await;
    let request = |byte: u8| {
        format!(r#"{{"inputs":[{{"name":"in_x","datatype":"UINT8","shape":[1,1],"data":[{byte}]}}]}}"#)
    };
    let mut client = gateway.connect().await;
    let path = "/v2/models/orders/infer";
    client.post(path, &[], request(orders::PANIC).as_bytes()).await.assert_error(
        500,
        "internal",
        "internal error",
    );
    assert_eq!(
        client.post(path, &[], request(1).as_bytes()).await.status,
        200,
        "the same connection goes on"
    );
    assert_eq!(gateway.counts.panics.load(std::sync::atomic::Ordering::SeqCst), 1);
    gateway.assert_unharmed().await;
}
