//! A trace over the whole stack: HTTP, the gateway, the local Lambda, and the real worker with two model processes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../server/tests/traces/collector.rs"]
#[expect(dead_code, reason = "the gateway's own tests use the rest")]
mod collector;
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use collector::{Collector, Mood, Span};
use gateway_invoker::LambdaInvoker;
use gateway_server::config::{Source, load};
use gateway_server::lifecycle::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workers_emulator::{Emulator, EmulatorConfig};

const CALLER: &str = "0af7651916cd43dd8448eb211c80319c";

/// Sends eight items; gives the answer, head and body.
async fn infer(address: SocketAddr) -> String {
    let data = vec!["1.0"; 32].join(",");
    let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[8,4],"data":[{data}]}}]}}"#);
    let head = format!(
        "POST /v2/models/identity/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         traceparent: 00-{CALLER}-b7ad6b7169203331-01\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_followed_into_each_model_process() {
    let folder = tempfile::tempdir().unwrap();
    let (package, model) = support::function_in(folder.path());
    let function = format!(
        "listen = '127.0.0.1:0'\n[metering]\nmode = 'none'\n\
         [[function]]\nname = 'f'\npackage_dir = {package:?}\nmemory_mib = [1024]\nlinks = {{ model = {model:?} }}\n"
    );
    let emulator = Emulator::start(EmulatorConfig::from_toml_str(&function).unwrap()).await.unwrap();
    let collector = Collector::start(Mood::Takes).await;
    let path = folder.path().join("penstock.toml");
    let config = format!(
        "[listen]\npublic_address = '127.0.0.1:0'\nadmin_address = '127.0.0.1:0'\n\
         [aws]\nendpoint_url = 'http://{}'\ncredentials = 'static-test'\n\
         [traces]\nendpoint = 'http://{}'\nsample_share = 0\n[control]\nprobe_interval_ms = 0\n[drain]\ndrain_delay_ms = 10\n\
         [models.identity]\nmanifest = 'model'\nfunction = 'f'\n\
         [models.identity.plan]\nmax_batch_size = 8\nmemory_mib = 1024\nprocess_count = 2\n",
        emulator.address(),
        collector.address
    );
    std::fs::write(&path, config).unwrap();
    let source = Source { path: Some(path), ..Source::default() };
    let loaded = load(&source).unwrap_or_else(|error| panic!("{error}"));
    let invoker = LambdaInvoker::new(&loaded.settings.invoker).await;
    let gateway = Gateway::start(loaded, source, invoker).await.unwrap();
    for _ in 0..2 {
        let answer = infer(gateway.public_address()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(CALLER), "{answer}");
    }
    assert!(gateway.shutdown().await);

    let by_start = |name: &str| {
        let mut spans = collector.named(name);
        spans.sort_by_key(|span| span.message.start_time_unix_nano);
        spans
    };
    let requests = by_start("POST /v2/models/{model}/infer");
    let (invocations, handlers) = (by_start("Lambda/Invoke"), by_start("handler"));
    assert_eq!((requests.len(), invocations.len(), handlers.len()), (2, 2, 2));
    let cold = &invocations[0];
    assert_eq!(cold.attributes["faas.coldstart"], "true");
    assert_eq!(invocations[1].attributes["faas.coldstart"], "false");
    let load = collector.only("load");
    assert!(load.parent() == cold.id() && load.is_within(cold) && load.milliseconds() > 0.0, "{load:?}");
    for (handler, invocation) in handlers.iter().zip(&invocations) {
        assert!(handler.parent() == invocation.id() && handler.is_within(invocation));
        assert!(!invocation.attributes["faas.invocation_id"].is_empty());
        let of = |name: &str, parent: &Span| -> Vec<Span> {
            collector.named(name).into_iter().filter(|span| span.parent() == parent.id()).collect()
        };
        let shards = of("shard", handler);
        let processes: BTreeSet<&String> =
            shards.iter().map(|shard| &shard.attributes["penstock.process"]).collect();
        assert_eq!((shards.len(), processes.len()), (2, 2), "each process has its shard");
        for shard in &shards {
            assert!(shard.is_within(handler) && shard.attributes["penstock.items"] == "4");
            assert!(of("run", shard).iter().all(|run| run.is_within(shard)));
        }
    }
    assert!(collector.spans().iter().all(|span| span.trace() == CALLER), "one trace from the caller on");
    emulator.shutdown().await;
}
