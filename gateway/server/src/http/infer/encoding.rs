//! Compressed bodies: gzip, and deflate in its zlib wrapping as HTTP means it, both ways and within bounds.

use std::borrow::Cow;
use std::io::{Read, Write};

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

use super::super::errors::{ApiError, Code};

/// A compression that this gateway reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    /// How the request's body is compressed; `None`: not at all.
    pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let known = match value.to_str().map(str::trim) {
            Ok(name) if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Some(Some(Self::Gzip))
            }
            Ok(name) if name.eq_ignore_ascii_case("deflate") => Some(Some(Self::Deflate)),
            Ok(name) if name.eq_ignore_ascii_case("identity") => Some(None),
            Ok(_) | Err(_) => None,
        };
        match (known, values.next()) {
            (Some(encoding), None) => Ok(encoding),
            _ => Err(ApiError::new(
                Code::UnsupportedEncoding,
                "`Content-Encoding` must be one of `gzip`, `deflate`, `identity`",
            )),
        }
    }

    /// What the client would like its answer compressed with: gzip before deflate; `None`: nothing that we know.
    pub(crate) fn of_answer(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        let accepts = |name: &str| {
            accepted.split(',').any(|entry| {
                let mut parts = entry.split(';').map(str::trim);
                let named = parts.next().is_some_and(|entry| entry.eq_ignore_ascii_case(name));
                let weight = parts.find_map(|part| part.strip_prefix("q=")).map(str::parse::<f32>);
                named && !matches!(weight, Some(Ok(weight)) if weight <= 0.0)
            })
        };
        if accepts("gzip") {
            Some(Self::Gzip)
        } else if accepts("deflate") {
            Some(Self::Deflate)
        } else {
            None
        }
    }

    /// Name in `Content-Encoding`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Decompresses a body; stops at `max_bytes`, however small the body was.
    pub(crate) fn decompress(self, compressed: &[u8], max_bytes: usize) -> Result<Vec<u8>, ApiError> {
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        let mut plain = Vec::with_capacity(compressed.len().saturating_mul(2).min(max_bytes));
        let (result, consumed) = match self {
            Self::Gzip => {
                (MultiGzDecoder::new(compressed).take(limit).read_to_end(&mut plain), compressed.len())
            }
            Self::Deflate => {
                let mut decoder = ZlibDecoder::new(compressed);
                let result = (&mut decoder).take(limit).read_to_end(&mut plain);
                (result, usize::try_from(decoder.total_in()).unwrap_or(usize::MAX))
            }
        };
        let broken = |what: &str| {
            ApiError::new(Code::InvalidRequest, format!("the body is not valid {}: {what}", self.name()))
        };
        result.map_err(|error| broken(&error.to_string()))?;
        if plain.len() > max_bytes {
            return Err(ApiError::new(
                Code::TooLarge,
                format!("the decompressed body exceeds {max_bytes} bytes"),
            ));
        }
        if consumed < compressed.len() {
            return Err(broken("bytes follow its end"));
        }
        Ok(plain)
    }

    /// Compresses an answer, fast rather than small.
    pub(crate) fn compress(self, plain: &[u8]) -> Cow<'_, [u8]> {
        let room = Vec::with_capacity(plain.len() / 2);
        let written = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, Compression::fast());
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
        };
        // Writing into memory does not fail; if it ever did, the caller would notice the borrowed answer and send it plain.
        written.map_or(Cow::Borrowed(plain), Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_text_comes_back() {
        let text = b"penstock ".repeat(500);
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let compressed = encoding.compress(&text);
            assert!(compressed.len() < text.len() / 4);
            assert_eq!(encoding.decompress(&compressed, text.len()).unwrap(), text);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let bomb = encoding.compress(&vec![0; 4 << 20]).into_owned();
            assert_eq!(encoding.decompress(&bomb, 1 << 20).unwrap_err().code, Code::TooLarge);
        }
    }

    #[test]
    fn cut_and_continued_streams_are_refused() {
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let mut stream = encoding.compress(b"some text that is long enough to be cut").into_owned();
            assert_eq!(
                encoding.decompress(&stream[..stream.len() - 6], 1000).unwrap_err().code,
                Code::InvalidRequest
            );
            stream.extend_from_slice(b"more");
            assert_eq!(encoding.decompress(&stream, 1000).unwrap_err().code, Code::InvalidRequest);
        }
    }

    #[test]
    fn a_weight_of_zero_is_a_no() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, "gzip;q=0, deflate;q=0.5".parse().unwrap());
        assert_eq!(Encoding::of_answer(&headers), Some(Encoding::Deflate));
        headers.insert(ACCEPT_ENCODING, "br".parse().unwrap());
        assert_eq!(Encoding::of_answer(&headers), None);
    }
}
