//! Traces from outside: HTTP in front, a scripted endpoint behind the real SDK, and a collector that decodes what is exported.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

mod collector;
mod faults;
#[expect(dead_code, reason = "the tests of faults use the rest")]
#[path = "../support/mod.rs"]
mod support;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use collector::{Collector, Mood};
use serde_json::json;
use support::{Act, Call, World, echo, echo_with, function_error, request_with, throttle};
use workers_protocol::{Report, Request, RequestHeader, WorkerSpan, WorkerSpanKind};

const REQUEST: &str = "POST /v2/models/{model}/infer";
const CALLER: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLERS_SPAN: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{CALLER}-{CALLERS_SPAN}-{flags}\r\n")
}

/// Batches of exactly so many items, and traces with these lines.
fn traced(items: u32, collector: &Collector, traces: &str) -> String {
    let interval = if traces.contains("export_interval_ms") { "" } else { "export_interval_ms = 10\n" };
    format!(
        "packing = \"fifo\"\nmax_batch_size = {items}\nmax_queue_delay_ms = 20000\n[models.echo.plan.retry]\nbackoff_base_ms = 5\n\
         [traces]\nendpoint = \"http://{}\"\n{interval}{traces}",
        collector.address
    )
}

async fn world(plan: &str, script: impl Fn(Call) -> Act + Send + Sync + 'static) -> World {
    support::world(plan, script).await
}

/// Sends one item with these header lines; gives status and head.
fn send(world: &World, headers: &str) -> impl Future<Output = (u16, String)> + Send + use<> {
    let address = world.gateway.public_address();
    let headers = headers.to_owned();
    let body = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0] }] });
    async move {
        let path = "/v2/models/echo/infer";
        let (status, head, _) = request_with(address, "POST", path, &headers, &body.to_string()).await;
        (status, head)
    }
}

/// The trace that an answer's head names.
fn trace_id(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("penstock-trace-id: "))
}

/// Headers of the batches that a worker got.
type Seen = Arc<Mutex<Vec<RequestHeader>>>;

/// A worker of two processes that tells its time, as far as it is asked to. Its clock is of no use to anybody.
fn worker(seen: &Seen, request: &Request) -> Act {
    seen.lock().unwrap().push(request.header.clone());
    let span = |kind, process, start_us, duration_us, within| WorkerSpan {
        kind,
        process,
        start_us,
        duration_us,
        items: 1,
        within,
        error: None,
    };
    let spans = vec![
        span(WorkerSpanKind::Shard, 1, 1_000, 8_000, None),
        span(WorkerSpanKind::Run, 1, 2_000, 6_000, Some(0)),
        span(WorkerSpanKind::Shard, 2, 1_500, 8_000, None),
        span(WorkerSpanKind::Run, 2, 2_000, 7_000, Some(2)),
    ];
    let spans = if request.header.report_spans { spans } else { Vec::new() };
    let report = Report { cold: true, init_us: 5_000, handler_us: 10_000, spans, ..Report::default() };
    Act::Later(Duration::from_millis(20), Box::new(echo_with(request, &[], &report)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_its_requests_link_to_each_other() {
    let collector = Collector::start(Mood::Takes).await;
    let seen = Seen::default();
    let script = {
        let seen = seen.clone();
        move |call: Call| worker(&seen, &call.request)
    };
    let world = world(&traced(3, &collector, "sample_share = 1"), script).await;
    let requests = [traceparent("01"), traceparent("01"), String::new()];
    let sent: Vec<_> = requests.iter().map(|headers| tokio::spawn(send(&world, headers))).collect();
    for request in sent {
        assert_eq!(request.await.unwrap().0, 200);
    }
    let catalogue = world.gateway.catalogue().clone();
    assert!(world.gateway.shutdown().await);

    let (requests, batch) = (collector.named(REQUEST), collector.only("batch"));
    let mut expected: Vec<_> = requests.iter().map(collector::Span::name).collect();
    let mut linked = batch.links();
    expected.sort();
    linked.sort();
    assert_eq!((linked.len(), &linked), (3, &expected), "a batch links to its requests");
    for request in &requests {
        assert_eq!(request.links(), [batch.name()], "a request links to its batch");
        assert_eq!(request.message.kind, 2, "SERVER");
        let of = |key: &str| request.attributes[key].as_str();
        assert_eq!((of("http.request.method"), of("http.route")), ("POST", "/v2/models/{model}/infer"));
        assert_eq!((of("http.response.status_code"), of("penstock.outcome")), ("200", "ok"));
        assert_eq!(
            (of("penstock.model"), of("penstock.items"), of("penstock.batch_items")),
            ("echo", "1", "3")
        );
        for figure in
            ["penstock.queue_wait_us", "penstock.invoke_us", "penstock.compute_us", "penstock.cost_usd"]
        {
            assert!(of(figure).parse::<f64>().is_ok(), "{figure}");
        }
    }
    let callers: Vec<_> = requests.iter().filter(|request| request.trace() == CALLER).collect();
    assert!(callers.len() == 2 && callers.iter().all(|request| request.parent() == CALLERS_SPAN));
    let begun: Vec<_> = requests.iter().filter(|request| request.trace() != CALLER).collect();
    assert!(begun.len() == 1 && begun[0].parent().is_empty(), "a new trace where no context came");
    assert!(batch.trace() != CALLER && batch.parent().is_empty(), "several callers have no common parent");
    assert_eq!((&*batch.attributes["penstock.requests"], &*batch.attributes["penstock.items"]), ("3", "3"));
    let header = seen.lock().unwrap().remove(0);
    let expected = format!("00-{}-{}-01", batch.trace(), batch.id());
    assert_eq!((header.traceparent.as_deref(), header.report_spans), (Some(expected.as_str()), true));
    assert_eq!(catalogue.trace_spans_exported.get(), collector.spans().len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_time_lies_within_its_invocation() {
    let collector = Collector::start(Mood::Takes).await;
    let seen = Seen::default();
    let script = {
        let seen = seen.clone();
        move |call: Call| worker(&seen, &call.request)
    };
    let world = world(&traced(1, &collector, "service_name = \"front\""), script).await;
    assert_eq!(send(&world, &traceparent("01")).await.0, 200);
    world.gateway.shutdown().await;

    let (batch, invocation) = (collector.only("batch"), collector.only("Lambda/Invoke"));
    let (load, handler) = (collector.only("load"), collector.only("handler"));
    assert!(invocation.parent() == batch.id() && invocation.is_within(&batch));
    assert_eq!(invocation.message.kind, 3, "CLIENT");
    let of = |key: &str| invocation.attributes[key].as_str();
    assert_eq!(
        (of("faas.invoked_name"), of("penstock.alias"), of("penstock.memory_mib")),
        ("f", "mem-1024", "1024")
    );
    assert_eq!(
        (of("faas.coldstart"), of("faas.version"), of("faas.invocation_id")),
        ("true", "1", "request-1")
    );
    assert_eq!((of("penstock.billed_ms"), of("penstock.billed_is_estimate")), ("10", "false"));
    assert!(invocation.milliseconds() >= 20.0);
    for span in [&load, &handler] {
        assert!(span.parent() == invocation.id() && span.is_within(&invocation));
        assert_eq!(span.service, "front-worker");
    }
    assert_eq!((load.milliseconds(), handler.milliseconds()), (5.0, 10.0));
    assert!(load.message.end_time_unix_nano <= handler.message.start_time_unix_nano);
    let (shards, runs) = (collector.named("shard"), collector.named("run"));
    let mut processes: Vec<&str> =
        shards.iter().map(|shard| &*shard.attributes["penstock.process"]).collect();
    processes.sort_unstable();
    assert_eq!(processes, ["1", "2"], "one shard a process");
    for shard in &shards {
        assert!(shard.parent() == handler.id() && shard.is_within(&handler));
        let of_shard = |run: &&collector::Span| run.parent() == shard.id();
        let runs: Vec<_> = runs.iter().filter(of_shard).collect();
        assert!(runs.len() == 1 && runs[0].is_within(shard));
        assert_eq!(runs[0].attributes["penstock.process"], shard.attributes["penstock.process"]);
    }
    assert!(collector.spans().iter().all(|span| span.trace() == CALLER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_one_request_is_a_part_of_its_trace() {
    let collector = Collector::start(Mood::Takes).await;
    let seen = Seen::default();
    let script = {
        let seen = seen.clone();
        move |call: Call| worker(&seen, &call.request)
    };
    let world = world(&traced(1, &collector, ""), script).await;
    let (status, head) = send(&world, &format!("{}tracestate: a=1\r\n", traceparent("01"))).await;
    assert_eq!((status, trace_id(&head)), (200, Some(CALLER)), "{head}");
    world.gateway.shutdown().await;
    let (request, batch) = (collector.only(REQUEST), collector.only("batch"));
    assert_eq!((batch.trace(), batch.parent()), (request.trace(), request.id()));
    assert_eq!((batch.links(), request.links()), (vec![request.name()], vec![batch.name()]));
    assert_eq!((&*request.message.trace_state, &*batch.message.trace_state), ("a=1", "a=1"));
    let header = seen.lock().unwrap().remove(0);
    assert_eq!(header.traceparent, Some(format!("00-{CALLER}-{}-01", batch.id())));
    assert_eq!(header.tracestate.as_deref(), Some("a=1"));
    assert_eq!(request.service, "penstock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_sample_is_respected_and_passed_on() {
    let collector = Collector::start(Mood::Takes).await;
    let seen = Seen::default();
    let script = {
        let seen = seen.clone();
        move |call: Call| worker(&seen, &call.request)
    };
    let world = world(&traced(1, &collector, "sample_share = 1"), script).await;
    let (status, head) = send(&world, &traceparent("00")).await;
    assert_eq!((status, trace_id(&head)), (200, Some(CALLER)));
    world.gateway.shutdown().await;
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
    let header = seen.lock().unwrap().remove(0);
    assert_eq!(header.traceparent, Some(format!("00-{CALLER}-{CALLERS_SPAN}-00")));
    assert!(!header.report_spans);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_sampled_requests_of_a_batch_are_recorded() {
    let collector = Collector::start(Mood::Takes).await;
    let seen = Seen::default();
    let script = {
        let seen = seen.clone();
        move |call: Call| worker(&seen, &call.request)
    };
    let world = world(&traced(3, &collector, "sample_share = 0"), script).await;
    let requests = [traceparent("01"), traceparent("00"), String::new()];
    let sent: Vec<_> = requests.iter().map(|headers| tokio::spawn(send(&world, headers))).collect();
    for request in sent {
        let (status, head) = request.await.unwrap();
        assert!(status == 200 && trace_id(&head).is_some(), "each has a trace to be named: {head}");
    }
    world.gateway.shutdown().await;
    let (request, batch) = (collector.only(REQUEST), collector.only("batch"));
    assert_eq!((batch.links(), &*batch.attributes["penstock.requests"]), (vec![request.name()], "3"));
    assert_eq!(request.parent(), CALLERS_SPAN);
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_that_begin_here_are_recorded_by_the_configured_share() {
    let collector = Collector::start(Mood::Takes).await;
    let world = world(&traced(1, &collector, "sample_share = 0.25"), |call| echo(&call.request, &[])).await;
    let sent: Vec<_> = (0..400).map(|_| tokio::spawn(send(&world, ""))).collect();
    for request in sent {
        assert_eq!(request.await.unwrap().0, 200);
    }
    world.gateway.shutdown().await;
    let recorded = collector.named(REQUEST).len();
    assert!((57..=143).contains(&recorded), "{recorded} of 400 at a share of 0.25"); // ± 5 standard deviations
    assert_eq!(collector.named("batch").len(), recorded, "and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_traces_a_context_is_passed_on_and_nothing_is_asked_of_the_worker() {
    let seen = Seen::default();
    let script = {
        let seen = seen.clone();
        move |call: Call| worker(&seen, &call.request)
    };
    let world = world("packing = \"none\"", script).await;
    let (_, head) = send(&world, &traceparent("01")).await;
    assert_eq!(trace_id(&head), Some(CALLER));
    let (status, head) = send(&world, "").await;
    assert_eq!((status, trace_id(&head)), (200, None));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].traceparent, Some(format!("00-{CALLER}-{CALLERS_SPAN}-01")));
    assert!(seen[1].traceparent.as_deref().is_some_and(|text| text.ends_with("-00")), "every batch has one");
    assert!(seen.iter().all(|header| !header.report_spans));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_a_batch_and_failures_are_named() {
    let collector = Collector::start(Mood::Takes).await;
    let script = |call: Call| match call.n {
        0 => throttle("0.01"),
        1 => echo(&call.request, &[]),
        _ => function_error("Crash"),
    };
    let world = world(&traced(1, &collector, "sample_share = 1"), script).await;
    let (status, head) = send(&world, "").await;
    assert_eq!(status, 200);
    let retried = trace_id(&head).unwrap().to_owned();
    let (status, head) = send(&world, "").await;
    assert_eq!(status, 502);
    let failed = trace_id(&head).unwrap().to_owned();
    world.gateway.shutdown().await;
    let of = |trace: &str, name: &str| -> Vec<_> {
        collector.named(name).into_iter().filter(|span| span.trace() == trace).collect()
    };
    let request = of(&retried, REQUEST).remove(0);
    assert_eq!(request.links().len(), 2, "both attempts");
    let mut attempts = of(&retried, "Lambda/Invoke");
    attempts.sort_by_key(|attempt| attempt.message.start_time_unix_nano);
    assert!(attempts[0].is_error() && attempts[0].attributes["error.type"] == "throttled");
    assert!(!attempts[0].attributes.contains_key("penstock.billed_ms"), "what did not run is not billed");
    assert!(!attempts[1].is_error() && !request.is_error());
    let request = of(&failed, REQUEST).remove(0);
    assert!(request.is_error() && request.attributes["error.type"] == "function_error");
    let invocations = of(&failed, "Lambda/Invoke");
    assert!(
        !invocations.is_empty()
            && invocations.iter().all(|span| span.attributes["error.type"] == "function_error")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_and_a_bad_request_have_spans_too() {
    let collector = Collector::start(Mood::Takes).await;
    let script = |call: Call| Act::Later(Duration::from_millis(300), Box::new(echo(&call.request, &[])));
    let world = world(&traced(1, &collector, "sample_share = 1"), script).await;
    let leaving = tokio::spawn(send(&world, ""));
    tokio::time::sleep(Duration::from_millis(100)).await;
    leaving.abort();
    let address = world.gateway.public_address();
    let path = "/v2/models/nobody/versions/1/infer";
    let (status, head, _) = request_with(address, "POST", path, "", "{}").await;
    assert!(status == 404 && trace_id(&head).is_some());
    world.gateway.shutdown().await;
    let left = collector.only(REQUEST);
    assert_eq!(left.attributes["penstock.outcome"], "cancelled");
    assert!(!left.attributes.contains_key("http.response.status_code") && !left.is_error());
    let bad = collector.only("POST /v2/models/{model}/versions/{version}/infer");
    assert_eq!((&*bad.attributes["penstock.outcome"], bad.is_error()), ("unknown_model", false));
    assert!(!bad.attributes.contains_key("penstock.model"), "names of models are those that are served");
}
