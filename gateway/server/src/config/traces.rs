//! `[traces]`: spans to an OpenTelemetry collector.

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Milliseconds;
use crate::telemetry::traces::TraceSettings;

/// Traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// Where a collector takes OTLP over HTTP, in protobuf: `http://127.0.0.1:4318/v1/traces`. A URL without a path gets `/v1/traces`. Default: none, and
    /// nothing is recorded; a caller's trace context is passed on to the worker in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Sent with each request to the collector: name and, as secrets have no place here, where the value is: `env:NAME` or `file:PATH` (relative to the
    /// configuration file; an end of line is left out). Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Of the traces that begin here, the share that is recorded, 0 to 1, default 0.01. Where a caller sends `traceparent`, its sampled flag decides. More: rare
    /// requests are found, for more CPU here and more to keep there.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample_share: f64,
    /// `service.name` of the gateway's spans, default `penstock`; those of its workers get `-worker` behind it.
    pub service_name: String,
    /// Spans that may wait for the collector, 1 to 1,000,000, default 8,192. What does not fit is dropped and counted. More: a longer
    /// pause of the collector is bridged, for more memory.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue_spans: usize,
    /// Spans of one request to the collector, 1 to 10,000, default 512. More: fewer and larger requests.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_export_spans: usize,
    /// Longest time that a span waits for others, 10 to 60,000, default 1,000. Less: traces are seen sooner, in more requests.
    pub export_interval_ms: Milliseconds,
    /// Longest request to the collector, 10 to 60,000, default 5,000. It is tried three times.
    pub export_timeout_ms: Milliseconds,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            sample_share: 0.01,
            service_name: "penstock".to_owned(),
            queue_spans: 8_192,
            max_export_spans: 512,
            export_interval_ms: Milliseconds::new(1000),
            export_timeout_ms: Milliseconds::new(5000),
        }
    }
}

/// A key and what is wrong with it.
type Invalid = (String, String);

/// What the section means; `None`: off. Secrets are read here, so that a missing one is seen before a port is bound.
pub(super) fn trace_settings(config: &TracesConfig, base: &Path) -> Result<Option<TraceSettings>, Invalid> {
    check(config).map_err(|(key, reason)| (key.to_owned(), reason.to_owned()))?;
    let Some(endpoint) = &config.endpoint else { return Ok(None) };
    let endpoint = url(endpoint).map_err(|reason| ("endpoint".to_owned(), reason))?;
    let mut headers = HeaderMap::with_capacity(config.headers.len());
    for (name, reference) in &config.headers {
        let invalid = |reason: String| (format!("headers.{name}"), reason);
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid("is no name of a header".to_owned()))?;
        let secret = secret(reference, base).map_err(invalid)?;
        let mut value = HeaderValue::from_str(&secret)
            .map_err(|_| invalid(format!("holds characters that a header cannot (`{reference}`)")))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(Some(TraceSettings {
        endpoint,
        headers,
        sample_share: config.sample_share,
        service_name: config.service_name.clone(),
        queue_spans: config.queue_spans,
        max_export_spans: config.max_export_spans,
        export_interval: config.export_interval_ms.duration(),
        export_timeout: config.export_timeout_ms.duration(),
    }))
}

/// First key out of its range, and the range.
fn check(config: &TracesConfig) -> Result<(), (&'static str, &'static str)> {
    let within = |value: Milliseconds| (Milliseconds::new(10)..=Milliseconds::new(60_000)).contains(&value);
    let ranges = [
        ("sample_share", (0.0..=1.0).contains(&config.sample_share), "must be 0 to 1"),
        ("service_name", !config.service_name.trim().is_empty(), "must not be empty"),
        ("queue_spans", (1..=1_000_000).contains(&config.queue_spans), "must be 1 to 1000000"),
        ("max_export_spans", (1..=10_000).contains(&config.max_export_spans), "must be 1 to 10000"),
        ("export_interval_ms", within(config.export_interval_ms), "must be 10 to 60000"),
        ("export_timeout_ms", within(config.export_timeout_ms), "must be 10 to 60000"),
    ];
    ranges.into_iter().find(|(_, fits, _)| !fits).map_or(Ok(()), |(key, _, range)| Err((key, range)))
}

fn url(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must start with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry credentials; use `traces.headers`".to_owned());
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Ok(url)
}

/// Reads a secret from where its reference says.
fn secret(reference: &str, base: &Path) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => {
            std::env::var(name).map_err(|_| format!("names the variable `{name}`, which is not set"))
        }
        Some(("file", path)) => {
            let path = base.join(path);
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot be read at `{}`: {error}", path.display()))?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        _ => Err("must be `env:NAME` or `file:PATH`: secrets have no place in this file".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> TracesConfig {
        TracesConfig {
            endpoint: Some("http://127.0.0.1:4318".to_owned()),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..TracesConfig::default()
        }
    }

    #[test]
    fn traces_are_off_without_an_endpoint_and_a_bare_url_gets_the_usual_path() {
        assert!(trace_settings(&TracesConfig::default(), Path::new("")).unwrap().is_none());
        let settings = trace_settings(&with(&[]), Path::new("")).unwrap().unwrap();
        assert_eq!(settings.endpoint.as_str(), "http://127.0.0.1:4318/v1/traces");
        let own = url("https://collector.example/otlp/v1/traces").unwrap();
        assert_eq!(own.as_str(), "https://collector.example/otlp/v1/traces");
    }

    #[test]
    fn secrets_come_from_where_they_are_named_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "Bearer secret\n").unwrap();
        let config = with(&[("authorization", "file:token"), ("x-home", "env:PATH")]);
        let settings = trace_settings(&config, folder.path()).unwrap().unwrap();
        assert_eq!(settings.headers["authorization"], "Bearer secret");
        assert_eq!(settings.headers["x-home"], std::env::var("PATH").unwrap());
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (header, reference, text) in [
            ("authorization", "Bearer secret", "must be `env:NAME` or `file:PATH`"),
            (
                "authorization",
                "env:PENSTOCK_NOT_SET_ANYWHERE",
                "`PENSTOCK_NOT_SET_ANYWHERE`, which is not set",
            ),
            ("authorization", "file:nowhere", "cannot be read at"),
            ("a b", "env:PATH", "is no name of a header"),
        ] {
            let (key, reason) = trace_settings(&with(&[(header, reference)]), Path::new("")).unwrap_err();
            assert!(key == format!("headers.{header}") && reason.contains(text), "{key}: {reason}");
        }
        for bad in ["127.0.0.1:4318", "ftp://host/", "http://user:word@host/", "nonsense"] {
            assert!(url(bad).is_err(), "{bad}");
        }
        let far = TracesConfig { sample_share: f64::NAN, ..TracesConfig::default() };
        assert_eq!(trace_settings(&far, Path::new("")).unwrap_err().0, "sample_share");
    }
}
