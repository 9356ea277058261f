//! What the HTTP side reports → metrics and log lines.

use std::sync::Arc;

use super::{Catalogue, Repeated, Tenants};
use crate::http::{HttpTelemetry, RequestRecord};

/// Label of requests that name no served model.
const NO_MODEL: &str = "_none";

/// Target of the line for each request; see `log.filter`.
const ACCESS: &str = "penstock::access";

/// Counts requests and connections.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    catalogue: Arc<Catalogue>,
    tenants: Option<Tenants>,
}

impl HttpMetrics {
    /// Counts into `catalogue`; by tenant too, if there are some.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, tenants: Option<Tenants>) -> Self {
        Self { catalogue, tenants }
    }
}

impl HttpTelemetry for HttpMetrics {
    fn connection_opened(&self) {
        self.catalogue.connections_opened.inc();
        self.catalogue.connections_open.inc();
    }

    fn connection_closed(&self) {
        self.catalogue.connections_open.dec();
    }

    fn connection_refused(&self) {
        self.catalogue.connections_refused.inc();
    }

    fn accept_failed(&self, error: &std::io::Error) {
        self.catalogue.accept_failures.inc();
        tracing::warn!(%error, "accepting a connection failed; the listener backs off");
    }

    fn request_finished(&self, record: &RequestRecord<'_>) {
        let model = record.model.unwrap_or(NO_MODEL);
        let class = match record.status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        log_request(record, model);
        if record.status >= 500 {
            self.log_failure(record, model);
        }
        self.catalogue.requests.with_label_values(&[model, record.code, class]).inc();
        self.catalogue.request_duration.with_label_values(&[model]).observe(record.duration.as_secs_f64());
        if let Some(overhead) = record.overhead() {
            self.catalogue.gateway_overhead.with_label_values(&[model]).observe(overhead.as_secs_f64());
        }
        if let Some(tenants) = &self.tenants {
            let labels = &[tenants.label(record.headers), model];
            self.catalogue.tenant_requests.with_label_values(labels).inc();
            self.catalogue
                .tenant_cost_usd
                .with_label_values(labels)
                .inc_by(record.receipt.map_or(0.0, |it| it.cost_usd));
        }
    }

    fn request_cancelled(&self, model: Option<&str>) {
        self.catalogue.requests_cancelled.with_label_values(&[model.unwrap_or(NO_MODEL)]).inc();
    }

    fn handler_panicked(&self) {
        self.catalogue.handler_panics.inc();
        tracing::error!("a request handler panicked; its request was answered with 500");
    }
}

impl HttpMetrics {
    /// A line for a request that was answered 5xx, unless the like was told just now.
    fn log_failure(&self, record: &RequestRecord<'_>, model: &str) {
        let told = self.catalogue.note_failure("request failed", record.code, model);
        if let Repeated::Tell { suppressed } = told {
            let trace_id = record.trace.map(tracing::field::display);
            tracing::warn!(
                model, status = record.status, code = record.code, items = record.items, duration = ?record.duration,
                trace_id, suppressed, "request failed"
            );
        }
    }
}

/// A line for each request, if somebody has asked for it.
fn log_request(record: &RequestRecord<'_>, model: &str) {
    if !tracing::enabled!(target: ACCESS, tracing::Level::DEBUG) {
        return;
    }
    let receipt = record.receipt.unwrap_or_default();
    tracing::debug!(
        target: ACCESS,
        model, status = record.status, code = record.code, items = record.items, duration = ?record.duration,
        queue_wait = ?receipt.queue_wait, invoke = ?receipt.invoke, batch_items = receipt.batch_items, cold = receipt.cold,
        trace_id = record.trace.map(tracing::field::display), "request answered"
    );
}
