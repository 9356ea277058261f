//! Bounds of the HTTP side. A plain struct: reading it from the configuration file is the caller's.

use std::time::Duration;

/// Bounds of a listener and of what a request may ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Open connections, at least 1. More are told 503 and closed.
    pub max_connections: usize,
    /// Time for a request's head to arrive; also how long a connection may stay idle between requests.
    pub header_read_timeout: Duration,
    /// Time for a request's body to arrive after its head. Over it: 408.
    pub body_read_timeout: Duration,
    /// Bytes of a request's head, at least 8,192. Over it: 431.
    pub max_header_bytes: usize,
    /// Header lines of a request. Over it: 431.
    pub max_header_count: usize,
    /// Bytes of a request's body as sent. Over it: 413.
    pub max_body_bytes: usize,
    /// Bytes of a request's body after decompression, and of its tensors after decoding. Over it: 413.
    pub max_decoded_bytes: usize,
    /// Bytes of all bodies held at one time. Over it: 503.
    pub max_inflight_body_bytes: usize,
    /// Pieces of a chunked body. Over it: 413.
    pub max_body_chunks: usize,
    /// Nesting of a request's JSON. Over it: 400.
    pub max_json_depth: usize,
    /// Elements of one tensor. Over it: 413.
    pub max_elements: u64,
    /// Items of one request. Over it: 413.
    pub max_items: u32,
    /// Longest time-out that a request may ask for; longer ones are cut to it.
    pub max_timeout: Duration,
    /// Priority of requests that name none; 0 is most urgent.
    pub default_priority: u8,
    /// Smallest answer, in bytes, that is compressed when the client accepts it.
    pub min_compressed_bytes: usize,
    /// Parallel requests of one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// How long a stopping listener waits on connections that hold no complete request.
    pub idle_grace: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            max_header_count: 100,
            max_body_bytes: 64 * 1024 * 1024,
            max_decoded_bytes: 64 * 1024 * 1024,
            max_inflight_body_bytes: 512 * 1024 * 1024,
            max_body_chunks: 65_536,
            max_json_depth: 100,
            max_elements: 16 * 1024 * 1024,
            max_items: 10_000,
            max_timeout: Duration::from_secs(900),
            default_priority: 1,
            min_compressed_bytes: 1024,
            max_concurrent_streams: 256,
            idle_grace: Duration::from_millis(500),
        }
    }
}
