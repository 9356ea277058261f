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
}
