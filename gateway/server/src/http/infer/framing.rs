//! What the headers of an inference request say about it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use super::encoding::Encoding;
use crate::http::errors::{ApiError, Code};

/// Length of the JSON before the binary data; 0: the body is raw binary data alone.
pub(super) const INFERENCE_HEADER_CONTENT_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");
const X_REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
const PENSTOCK_RECEIPT: HeaderName = HeaderName::from_static("penstock-receipt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The headers that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Framing {
    /// How the body is compressed.
    pub(in crate::http) encoding: Option<Encoding>,
    /// How the answer may be compressed.
    pub(in crate::http) answer_encoding: Option<Encoding>,
    /// Bytes of JSON; `None`: all of the body.
    pub(in crate::http) json_bytes: Option<usize>,
    pub(in crate::http) timeout: Option<Duration>,
    pub(in crate::http) traceparent: Option<String>,
    pub(in crate::http) receipt: bool,
}

impl Framing {
    pub(in crate::http) fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let timeout_ms = count(headers, &X_REQUEST_TIMEOUT_MS, "X-Request-Timeout-Ms")?;
        let json_bytes = count(headers, &INFERENCE_HEADER_CONTENT_LENGTH, "Inference-Header-Content-Length")?;
        let receipt = headers.get(PENSTOCK_RECEIPT);
        Ok(Self {
            encoding: Encoding::of_request(headers)?,
            answer_encoding: Encoding::of_answer(headers),
            json_bytes: json_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            timeout: timeout_ms.filter(|&millis| millis > 0).map(Duration::from_millis),
            traceparent: traceparent(headers),
            receipt: receipt.is_some_and(|value| value == "1" || value == "true"),
        })
    }
}

fn count(headers: &HeaderMap, header: &HeaderName, shown: &str) -> Result<Option<u64>, ApiError> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|text| text.parse().ok()), values.next()) {
        (Some(number), None) => Ok(Some(number)),
        _ => {
            let text = format!("header `{shown}` must be one integer that is not negative");
            Err(ApiError::new(Code::InvalidRequest, text))
        }
    }
}

/// The trace context, if it has the form of W3C's version 00. Others are passed over, as the recommendation asks.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let fits = hex(parts.next(), 2) && hex(parts.next(), 32) && hex(parts.next(), 16) && hex(parts.next(), 2);
    (fits && text.len() == 55).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Result<Framing, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Framing::read(&headers)
    }

    #[test]
    fn lengths_must_be_plain_numbers() {
        assert_eq!(read("inference-header-content-length", "12").unwrap().json_bytes, Some(12));
        for bad in ["-1", "+1", "1e3", "", " 1x", "99999999999999999999"] {
            assert!(read("inference-header-content-length", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_well_formed_trace_contexts_are_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(read("traceparent", good).unwrap().traceparent.as_deref(), Some(good));
        for bad in
            ["00-abc-def-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra", "nonsense"]
        {
            assert_eq!(read("traceparent", bad).unwrap().traceparent, None, "{bad}");
        }
    }
}
