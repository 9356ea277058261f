//! `[limits]`: what connections and requests may ask of the gateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Milliseconds;
use crate::driver::DriverLimits;
use crate::http::HttpConfig;

/// Bounds of connections and requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Open client connections, 1 to 1,000,000, default 4,096. More: more descriptors and memory. Fewer: clients are told 503 sooner.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: usize,
    /// Time for a request's head to arrive, also how long a connection may idle, default 30,000. More: slow clients hold connections longer.
    pub header_read_timeout_ms: Milliseconds,
    /// Time for a request's body to arrive after its head, default 30,000. Less: slow uploads are answered 408.
    pub body_read_timeout_ms: Milliseconds,
    /// Bytes of a request's head, 8,192 to 1,048,576, default 65,536. Over it: 431.
    #[schemars(range(min = 8192, max = 1_048_576))]
    pub max_header_bytes: usize,
    /// Header lines of a request, 1 to 1,000, default 100. Over it: 431.
    #[schemars(range(min = 1, max = 1000))]
    pub max_header_count: usize,
    /// Bytes of a request's body as sent, at least 1,024, default 67,108,864. Over it: 413.
    #[schemars(range(min = 1024))]
    pub max_body_bytes: usize,
    /// Bytes of a body after decompression, at least 1,024, default 67,108,864. Over it: 413. Guards against compressed bombs.
    #[schemars(range(min = 1024))]
    pub max_decoded_bytes: usize,
    /// Bytes of all bodies held at one time, at least 1,024, default 536,870,912. Over it: 503. Bounds the gateway's memory.
    #[schemars(range(min = 1024))]
    pub max_inflight_body_bytes: usize,
    /// Pieces of a chunked body, at least 1, default 65,536. Over it: 413.
    #[schemars(range(min = 1))]
    pub max_body_chunks: usize,
    /// Nesting of a request's JSON, 4 to 127, default 100. Over it: 400.
    #[schemars(range(min = 4, max = 127))]
    pub max_json_depth: usize,
    /// Elements of one tensor, at least 1, default 16,777,216. Over it: 413.
    #[schemars(range(min = 1))]
    pub max_elements: u64,
    /// Items of one request, at least 1, default 10,000. Over it: 413.
    #[schemars(range(min = 1))]
    pub max_items: u32,
    /// Longest time-out that a request may ask for, default 900,000 (Lambda's own bound). Longer ones are cut to it.
    pub max_timeout_ms: Milliseconds,
    /// Priority of requests that name none, 0 (most urgent) to 255, default 1.
    pub default_priority: u8,
    /// Smallest answer, in bytes, that is compressed for clients that accept it, default 1,024. Less: more CPU, fewer bytes.
    pub min_compressed_bytes: usize,
    /// Parallel requests of one HTTP/2 connection, at least 1, default 256.
    #[schemars(range(min = 1))]
    pub max_concurrent_streams: u32,
    /// Requests between the listeners and the engine, at least 1, default 65,536. More only helps an engine that has fallen behind.
    #[schemars(range(min = 1))]
    pub channel_requests: usize,
    /// Bytes of tensors between the listeners and the engine, at least 1,024, default 268,435,456.
    #[schemars(range(min = 1024))]
    pub channel_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let http = HttpConfig::default();
        let driver = DriverLimits::default();
        Self {
            max_connections: http.max_connections,
            header_read_timeout_ms: Milliseconds::new(30_000),
            body_read_timeout_ms: Milliseconds::new(30_000),
            max_header_bytes: http.max_header_bytes,
            max_header_count: http.max_header_count,
            max_body_bytes: http.max_body_bytes,
            max_decoded_bytes: http.max_decoded_bytes,
            max_inflight_body_bytes: http.max_inflight_body_bytes,
            max_body_chunks: http.max_body_chunks,
            max_json_depth: http.max_json_depth,
            max_elements: http.max_elements,
            max_items: http.max_items,
            max_timeout_ms: Milliseconds::new(900_000),
            default_priority: http.default_priority,
            min_compressed_bytes: http.min_compressed_bytes,
            max_concurrent_streams: http.max_concurrent_streams,
            channel_requests: driver.channel_requests,
            channel_bytes: driver.channel_bytes,
        }
    }
}

impl LimitsConfig {
    /// First key out of its range, and the range.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let check = |holds: bool, key, range| if holds { Ok(()) } else { Err((key, range)) };
        check((1..=1_000_000).contains(&self.max_connections), "max_connections", "must be 1 to 1000000")?;
        check(
            (8192..=1_048_576).contains(&self.max_header_bytes),
            "max_header_bytes",
            "must be 8192 to 1048576",
        )?;
        check((1..=1000).contains(&self.max_header_count), "max_header_count", "must be 1 to 1000")?;
        check(self.max_body_bytes >= 1024, "max_body_bytes", "must be at least 1024")?;
        check(self.max_decoded_bytes >= 1024, "max_decoded_bytes", "must be at least 1024")?;
        check(self.max_inflight_body_bytes >= 1024, "max_inflight_body_bytes", "must be at least 1024")?;
        check(self.max_body_chunks >= 1, "max_body_chunks", "must be at least 1")?;
        check((4..=127).contains(&self.max_json_depth), "max_json_depth", "must be 4 to 127")?;
        check(self.max_elements >= 1, "max_elements", "must be at least 1")?;
        check(self.max_items >= 1, "max_items", "must be at least 1")?;
        check(self.max_concurrent_streams >= 1, "max_concurrent_streams", "must be at least 1")?;
        check(self.channel_requests >= 1, "channel_requests", "must be at least 1")?;
        check(self.channel_bytes >= 1024, "channel_bytes", "must be at least 1024")
    }

    /// For the HTTP side.
    #[must_use]
    pub fn http(&self) -> HttpConfig {
        HttpConfig {
            max_connections: self.max_connections,
            header_read_timeout: self.header_read_timeout_ms.duration(),
            body_read_timeout: self.body_read_timeout_ms.duration(),
            max_header_bytes: self.max_header_bytes,
            max_header_count: self.max_header_count,
            max_body_bytes: self.max_body_bytes,
            max_decoded_bytes: self.max_decoded_bytes,
            max_inflight_body_bytes: self.max_inflight_body_bytes,
            max_body_chunks: self.max_body_chunks,
            max_json_depth: self.max_json_depth,
            max_elements: self.max_elements,
            max_items: self.max_items,
            max_timeout: self.max_timeout_ms.duration(),
            default_priority: self.default_priority,
            min_compressed_bytes: self.min_compressed_bytes,
            max_concurrent_streams: self.max_concurrent_streams,
            ..HttpConfig::default()
        }
    }

    /// For the driver.
    #[must_use]
    pub fn driver(&self) -> DriverLimits {
        DriverLimits { channel_requests: self.channel_requests, channel_bytes: self.channel_bytes }
    }
}
