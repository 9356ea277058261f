//! Row 26 of the fault table: a collector that is down, slow or unwilling costs spans and no request, and every span is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_server::telemetry::Catalogue;

use crate::collector::{Collector, Mood};
use crate::support::{World, echo};
use crate::{send, traced, world};

/// Spans of a request that is a batch: request, batch, invocation, handler.
const SPANS_EACH: u64 = 4;

fn dropped(catalogue: &Catalogue, reason: &str) -> u64 {
    catalogue.trace_spans_dropped.with_label_values(&[reason]).get()
}

fn all(catalogue: &Catalogue) -> u64 {
    let reasons = ["queue_full", "export_failed", "rejected", "stopped"];
    let dropped: u64 = reasons.iter().map(|reason| dropped(catalogue, reason)).sum();
    catalogue.trace_spans_exported.get() + dropped
}

async fn start(collector: &Collector, traces: &str) -> (World, Arc<Catalogue>) {
    let world =
        world(&traced(1, collector, &format!("sample_share = 1\n{traces}")), |call| echo(&call.request, &[]))
            .await;
    let catalogue = world.gateway.catalogue().clone();
    (world, catalogue)
}

/// Sends requests, all at once; gives the longest time that one took.
async fn send_many(world: &World, count: u64) -> Duration {
    let sent = (0..count).map(|_| {
        let request = send(world, "");
        tokio::spawn(async move {
            let began = Instant::now();
            (request.await.0, began.elapsed())
        })
    });
    let mut longest = Duration::ZERO;
    for request in sent.collect::<Vec<_>>() {
        let (status, took) = request.await.unwrap();
        assert_eq!(status, 200);
        longest = longest.max(took);
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_costs_spans_and_no_request() {
    let collector = Collector::start(Mood::Takes).await;
    let dead = collector.at("127.0.0.1:1".parse().unwrap());
    let (world, catalogue) =
        start(&dead, "queue_spans = 40\nmax_export_spans = 20\nexport_timeout_ms = 200").await;
    send_many(&world, 100).await;
    let began = Instant::now();
    assert!(world.gateway.shutdown().await, "and the drain ends");
    assert!(began.elapsed() < Duration::from_secs(8));
    assert!(dropped(&catalogue, "queue_full") > 0 && dropped(&catalogue, "export_failed") > 0);
    assert_eq!((all(&catalogue), catalogue.trace_spans_exported.get()), (100 * SPANS_EACH, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_collector_slows_nothing() {
    let collector = Collector::start(Mood::Slow(Duration::from_secs(30))).await;
    let (world, catalogue) = start(&collector, "queue_spans = 40\nexport_timeout_ms = 300").await;
    send_many(&world, 1).await; // something is under way to the collector now
    tokio::time::sleep(Duration::from_millis(100)).await;
    let longest = send_many(&world, 50).await;
    assert!(longest < Duration::from_secs(5), "{longest:?} while the collector takes 30 s");
    assert!(dropped(&catalogue, "queue_full") > 0, "what does not fit is dropped where it arises");
    world.gateway.shutdown().await;
    assert_eq!((all(&catalogue), catalogue.trace_spans_exported.get()), (51 * SPANS_EACH, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_answers_500_is_not_asked_again() {
    let collector = Collector::start(Mood::Refuses(500)).await;
    let (world, catalogue) = start(&collector, "").await;
    send_many(&world, 20).await;
    world.gateway.shutdown().await;
    assert_eq!(dropped(&catalogue, "export_failed"), 20 * SPANS_EACH);
    let spans_a_request = 20 * SPANS_EACH / collector.heads().len() as u64;
    assert!(spans_a_request >= 1, "no more requests than spans");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_asks_for_patience_is_asked_again() {
    let collector = Collector::start(Mood::Refuses(503)).await;
    let (world, catalogue) = start(&collector, "export_interval_ms = 50").await;
    let (patient, heads) = (collector.clone(), collector.clone());
    let change = tokio::spawn(async move {
        while heads.heads().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        patient.set_mood(Mood::Takes);
    });
    send_many(&world, 1).await;
    change.await.unwrap();
    world.gateway.shutdown().await;
    assert_eq!((catalogue.trace_spans_exported.get(), all(&catalogue)), (SPANS_EACH, SPANS_EACH));
    assert_eq!(collector.spans().len() as u64, SPANS_EACH, "each span once");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_the_collector_rejects_are_counted() {
    let collector = Collector::start(Mood::Rejects(1)).await;
    let (world, catalogue) = start(&collector, "export_interval_ms = 60000").await;
    send_many(&world, 5).await;
    assert_eq!(all(&catalogue), 0, "nothing is sent before its time");
    world.gateway.shutdown().await;
    assert_eq!(collector.spans().len() as u64, 5 * SPANS_EACH, "a drain sends what waits");
    assert_eq!((dropped(&catalogue, "rejected"), all(&catalogue)), (1, 5 * SPANS_EACH));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_to_the_collector_and_are_shown_nowhere() {
    let collector = Collector::start(Mood::Takes).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "Bearer hush\n").unwrap();
    let headers = format!("headers = {{ authorization = \"file:{}\" }}", token.path().display());
    let (world, _) = start(&collector, &headers).await;
    send_many(&world, 1).await;
    let (_, shown) = crate::support::raw_request(world.gateway.admin_address(), "GET", "/config", "").await;
    assert!(shown.contains("file:") && !shown.contains("hush"), "{shown}");
    world.gateway.shutdown().await;
    let heads = collector.heads();
    assert!(!heads.is_empty());
    for head in heads {
        assert_eq!(head["authorization"], "Bearer hush");
        assert_eq!(head["content-type"], "application/x-protobuf");
    }
}
