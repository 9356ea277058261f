//! Connections: slow, too many, abandoned, and those that a shutdown meets.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gateway_server::http::HttpConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Gateway, TWO, orders, wait_until};

fn hang() -> String {
    let byte = orders::HANG;
    format!(r#"{{"inputs":[{{"name":"in_x","datatype":"UINT8","shape":[1,1],"data":[{byte}]}}]}}"#)
}

fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// Whether the server closes the connection within 10 s.
async fn is_closed(stream: &mut tokio::net::TcpStream) -> bool {
    let mut sink = [0; 1024];
    let end = async { while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(Duration::from_secs(10), end).await.is_ok()
}

#[tokio::test]
async fn slow_heads_and_silent_connections_are_closed_and_others_served() {
    let config = HttpConfig { header_read_timeout: Duration::from_millis(300), ..HttpConfig::default() };
    let gateway = Gateway::start_with(config).await;
    let mut slow = Vec::new();
    for start in ["", "P", "PRI * HT", "GET /v2 HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        for _ in 0..25 {
            let mut client = gateway.connect().await;
            client.0.write_all(start.as_bytes()).await.unwrap();
            slow.push(client);
        }
    }
    assert_eq!(gateway.infer("two", TWO).await.status, 200, "others are served meanwhile");
    for client in &mut slow {
        assert!(is_closed(&mut client.0).await);
    }
    assert!(wait_until(|| gateway.counts.open.load(Ordering::SeqCst) == 0).await);
}

#[tokio::test]
async fn a_slow_body_is_408() {
    let config = HttpConfig { body_read_timeout: Duration::from_millis(200), ..HttpConfig::default() };
    let gateway = Gateway::start_with(config).await;
    let reply = gateway.connect().await.send(&head("/v2/models/two/infer", 500), b"{\"inputs\":").await;
    reply.assert_error(408, "request_timeout", "body");
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn oversize_heads_are_refused() {
    let config = HttpConfig { max_header_bytes: 8192, max_header_count: 20, ..HttpConfig::default() };
    let gateway = Gateway::start_with(config).await;
    let many: String = (0..30).map(|index| format!("x-{index}: 1\r\n")).collect();
    let reply =
        gateway.connect().await.send(&format!("GET /v2 HTTP/1.1\r\nhost: x\r\n{many}\r\n"), b"").await;
    assert_eq!(reply.status, 431);
    let long = "a".repeat(20_000);
    let reply =
        gateway.connect().await.send(&format!("GET /v2 HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"), b"").await;
    assert_eq!(reply.status, 431);
    let reply = gateway.connect().await.send("garbage\r\n\r\n", b"").await;
    assert_eq!(reply.status, 400);
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let gateway = Gateway::start_with(HttpConfig { max_connections: 3, ..HttpConfig::default() }).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.connect().await;
        assert_eq!(client.send("GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n", b"").await.status, 200);
        kept.push(client);
    }
    let reply = gateway.get("/v2").await;
    reply.assert_error(503, "too_many_connections", "connections");
    assert_eq!(reply.headers["retry-after"], "1");
    kept.pop();
    assert!(wait_until(|| gateway.counts.open.load(Ordering::SeqCst) == 2).await);
    assert_eq!(gateway.get("/v2").await.status, 200, "a freed place can be taken");
}

#[tokio::test]
async fn bodies_in_flight_share_bounded_memory() {
    let gateway =
        Gateway::start_with(HttpConfig { max_inflight_body_bytes: 1000, ..HttpConfig::default() }).await;
    let mut holder = gateway.connect().await;
    holder.0.write_all(head("/v2/models/two/infer", 900).as_bytes()).await.unwrap();
    assert!(wait_until(|| gateway.state.inflight_body_bytes() == 900).await);
    let reply = gateway.infer("two", TWO).await;
    reply.assert_error(503, "overloaded", "in flight");
    drop(holder);
    assert!(wait_until(|| gateway.state.inflight_body_bytes() == 0).await);
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let gateway = Gateway::start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = gateway.connect().await;
        let body = hang();
        client.0.write_all((head("/v2/models/orders/infer", body.len()) + &body).as_bytes()).await.unwrap();
        clients.push(client);
    }
    assert!(wait_until(|| gateway.stand_in.waiting.load(Ordering::SeqCst) == 20).await);
    drop(clients);
    assert!(
        wait_until(|| gateway.stand_in.waiting.load(Ordering::SeqCst) == 0).await,
        "the driver's futures are dropped"
    );
    assert!(wait_until(|| gateway.counts.cancelled.load(Ordering::SeqCst) == 20).await);
    gateway.assert_unharmed().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    let request = |id: u32| {
        let body = TWO.replacen("\"7\"", &format!("\"{id}\""), 1);
        head("/v2/models/two/infer", body.len()) + &body
    };
    client.0.write_all((0..10).map(request).collect::<String>().as_bytes()).await.unwrap();
    let mut received = String::new();
    while received.matches("\"model_name\"").count() < 10 {
        let mut chunk = [0; 8192];
        let count = client.0.read(&mut chunk).await.unwrap();
        assert!(count > 0, "closed after {received}");
        received += std::str::from_utf8(&chunk[..count]).unwrap();
    }
    let positions: Vec<_> = (0..10).map(|id| received.find(&format!("\"id\":\"{id}\"")).unwrap()).collect();
    assert!(positions.is_sorted());
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let gateway = Gateway::start().await;
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{}/v2/models/two/infer", gateway.address));
    let request = request.body(axum::body::Body::from(TWO)).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    driver.abort();
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight_and_waits_for_nothing_else() {
    let gateway = Gateway::start().await;
    let mut idle = gateway.connect().await;
    assert_eq!(idle.send("GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n", b"").await.status, 200);
    let mut half = gateway.connect().await;
    half.0.write_all(b"GET /v2 HTTP/1.1\r\nhos").await.unwrap();
    let mut silent = gateway.connect().await;
    let body = TWO;
    let mut in_flight = gateway.connect().await;
    in_flight.0.write_all(head("/v2/models/two/infer", body.len()).as_bytes()).await.unwrap();
    assert!(wait_until(|| gateway.state.inflight_body_bytes() == body.len()).await);
    let start = Instant::now();
    gateway.shutdown.finish();
    for client in [&mut idle, &mut half, &mut silent] {
        assert!(is_closed(&mut client.0).await);
    }
    assert!(start.elapsed() < Duration::from_secs(8), "took {:?}", start.elapsed());
    assert!(tokio::net::TcpStream::connect(gateway.address).await.is_err(), "no new connections");
    in_flight.0.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(in_flight.reply().await.unwrap().status, 200);
    assert!(wait_until(|| gateway.server.is_finished()).await, "the listener ends");
}
