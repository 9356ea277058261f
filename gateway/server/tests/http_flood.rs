//! Memory under a flood of bad requests. A process of its own: other tests beside it would be counted too.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test binary has no readers outside")]

#[allow(dead_code, reason = "shared with the other tests over sockets, which use all of it")]
#[path = "http_black_box/support.rs"]
mod support;

use support::Gateway;

#[tokio::test]
async fn a_flood_of_bad_requests_leaves_nothing_behind() {
    let gateway = Gateway::start().await;
    let oversize = r#"{"inputs":[{"name":"in_x","datatype":"FP32","shape":[1000000,16],"data":[]}]}"#;
    let before = resident_kib();
    let flood = format!(
        "POST /v2/models/identity/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{}",
        "1\r\n \r\n".repeat(66_000)
    );
    for _ in 0..20 {
        gateway.connect().await.send(&flood, b"").await.assert_error(413, "too_large", "65536 chunks");
        gateway
            .post("/v2/models/identity/infer", &[("inference-header-content-length", "9999999")], b"{}")
            .await;
        gateway.infer("identity", oversize).await;
    }
    gateway.assert_unharmed().await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "resident memory grew by {grown} KiB");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
