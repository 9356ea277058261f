//! The task that sends spans to the collector, and what happens to those that cannot be sent.
//!
//! Spans wait in a bounded queue that nobody waits for: what does not fit is dropped where it arises. One request is under way at a time; a
//! collector that is slow, down or unwilling costs spans, never a request. Every span ends in exactly one count: exported, or dropped with a reason.
//! Deliberately absent: a disk, and compression.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prometheus::IntCounter;
use prost::Message as _;
use rand::RngExt as _;
use reqwest::{Client, Url};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::context::SpanId;
use super::otlp::{Service, request};
use super::span::Span;
use super::tracer::Tracer;
use crate::telemetry::Catalogue;

/// Tries of one request to the collector.
const ATTEMPTS: u32 = 3;
/// Pause before the second try; it doubles.
const BACKOFF: Duration = Duration::from_millis(500);
/// Longest pause that a collector may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Bytes of a collector's answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// While exports fail, one line in this time.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// Where spans go and how.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// Where requests are posted.
    pub endpoint: Url,
    /// Sent with each of them.
    pub headers: HeaderMap,
    /// Of the traces that begin here, 0 to 1.
    pub sample_share: f64,
    /// Name of this service in traces.
    pub service_name: String,
    /// Spans that may wait.
    pub queue_spans: usize,
    /// Spans of one request.
    pub max_export_spans: usize,
    /// Longest wait of a span for others.
    pub export_interval: Duration,
    /// Longest request.
    pub export_timeout: Duration,
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("traces: {0}")]
pub struct TraceError(#[from] reqwest::Error);

/// Owner of the task.
#[derive(Debug)]
pub struct TraceExporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl TraceExporter {
    /// Starts the task.
    ///
    /// # Errors
    /// [`TraceError`]
    pub fn start(settings: &TraceSettings, catalogue: &Catalogue) -> Result<(Tracer, Self), TraceError> {
        gateway_objects::use_ring();
        let client = Client::builder()
            .timeout(settings.export_timeout)
            .connect_timeout(settings.export_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (sender, spans) = mpsc::channel(settings.queue_spans);
        let dropped = |reason| catalogue.trace_spans_dropped.with_label_values(&[reason]);
        let tracer = Tracer::new(sender, settings.sample_share, dropped("queue_full"), dropped("stopped"));
        let worker = Worker {
            spans,
            in_hand: 0,
            client,
            service: Service {
                name: settings.service_name.as_str().into(),
                instance: SpanId::random().to_string().into(),
            },
            settings: settings.clone(),
            exported: catalogue.trace_spans_exported.clone(),
            failed: dropped("export_failed"),
            rejected: dropped("rejected"),
            stopped: dropped("stopped"),
            failing: None,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.run(stop.clone()));
        Ok((tracer, Self { stop, task }))
    }

    /// Sends what waits, for as long as this at most; the rest is dropped and counted.
    pub async fn stop(mut self, limit: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            tracing::warn!("the collector did not take the last spans in time; they are dropped");
            self.task.abort();
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for TraceExporter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Worker {
    spans: mpsc::Receiver<Span>,
    /// Taken from the queue and neither exported nor dropped.
    in_hand: usize,
    client: Client,
    service: Service,
    settings: TraceSettings,
    exported: IntCounter,
    failed: IntCounter,
    rejected: IntCounter,
    stopped: IntCounter,
    failing: Option<Failing>,
}

/// Exports fail.
struct Failing {
    told: Instant,
    /// Dropped since the last line.
    spans: usize,
}

/// A request that the collector did not take.
struct Refusal {
    reason: String,
    /// Another try may help.
    may_pass: bool,
    retry_after: Option<Duration>,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let is_open = self.collect(&mut batch, &stop).await;
            self.in_hand = batch.len();
            if !batch.is_empty() {
                self.export(std::mem::take(&mut batch), &stop).await;
                self.in_hand = 0;
            }
            if !is_open {
                return;
            }
        }
    }

    /// Gathers spans until there are enough or the oldest has waited long enough. `false`: there will be no more.
    async fn collect(&mut self, batch: &mut Vec<Span>, stop: &CancellationToken) -> bool {
        let mut due = None;
        loop {
            let room = self.settings.max_export_spans - batch.len();
            if room == 0 {
                return true;
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.spans.is_closed() => self.spans.close(),
                taken = self.spans.recv_many(batch, room) => {
                    if taken == 0 {
                        return false;
                    }
                    due.get_or_insert_with(|| Instant::now() + self.settings.export_interval);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return true,
            }
        }
    }

    async fn export(&mut self, spans: Vec<Span>, stop: &CancellationToken) {
        let count = spans.len();
        let body = Bytes::from(request(spans, &self.service).encode_to_vec());
        let mut attempt = 1;
        loop {
            let refusal = match self.post(body.clone()).await {
                Ok(rejected) => return self.taken(count, rejected),
                Err(refusal) => refusal,
            };
            if !refusal.may_pass || attempt == ATTEMPTS || stop.is_cancelled() {
                return self.refused(count, &refusal);
            }
            let backoff = BACKOFF * 2_u32.pow(attempt - 1);
            let backoff = backoff.mul_f64(rand::rng().random_range(0.5..1.5)); // several gateways shall not come at once
            tokio::select! {
                () = sleep(refusal.retry_after.unwrap_or(backoff)) => {}
                () = stop.cancelled() => {} // the last try is now
            }
            attempt += 1;
        }
    }

    /// Posts a request. Gives the number of spans that the collector did not want.
    async fn post(&self, body: Bytes) -> Result<usize, Refusal> {
        let lost = |error: reqwest::Error| Refusal {
            reason: with_sources(&error.without_url()),
            may_pass: true,
            retry_after: None,
        };
        let mut headers = self.settings.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let call = self.client.post(self.settings.endpoint.clone()).headers(headers).body(body);
        let mut answer = call.send().await.map_err(lost)?;
        let status = answer.status();
        if !status.is_success() {
            let retry_after = answer.headers().get(RETRY_AFTER).and_then(seconds);
            let may_pass = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            return Err(Refusal { reason: format!("it answers {status}"), may_pass, retry_after });
        }
        let mut text = Vec::new();
        // The spans are taken; an answer that cannot be read changes nothing about that.
        while let Ok(Some(chunk)) = answer.chunk().await {
            if text.len() + chunk.len() > MAX_ANSWER_BYTES {
                break;
            }
            text.extend_from_slice(&chunk);
        }
        let rejected = ExportTraceServiceResponse::decode(text.as_slice())
            .ok()
            .and_then(|answer| answer.partial_success)
            .map_or(0, |partial| partial.rejected_spans);
        Ok(usize::try_from(rejected).unwrap_or(0))
    }

    fn taken(&mut self, count: usize, rejected: usize) {
        let rejected = rejected.min(count);
        self.exported.inc_by((count - rejected) as u64);
        self.rejected.inc_by(rejected as u64);
        if self.failing.take().is_some() {
            tracing::info!("the collector of traces takes spans again");
        }
    }

    fn refused(&mut self, count: usize, refusal: &Refusal) {
        self.failed.inc_by(count as u64);
        let now = Instant::now();
        let is_first = self.failing.is_none();
        let failing = self.failing.get_or_insert(Failing { told: now, spans: 0 });
        failing.spans += count;
        if is_first || now.duration_since(failing.told) >= REMIND_EVERY {
            tracing::warn!(
                endpoint = %self.settings.endpoint, spans = failing.spans, reason = refusal.reason,
                "spans were dropped: the collector of traces does not take them; requests are not affected"
            );
            *failing = Failing { told: now, spans: 0 };
        }
    }
}

impl Drop for Worker {
    /// Whatever the end was: nothing is lost without being counted.
    fn drop(&mut self) {
        self.spans.close();
        while self.spans.try_recv().is_ok() {
            self.in_hand += 1;
        }
        self.stopped.inc_by(self.in_hand as u64);
    }
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// The text of an error says little; its causes say why.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
