//! A closed-loop HTTP load of prepared bytes over keep-alive connections, one thread a connection.
//!
//! Only the server's processes are measured, so simplicity beats speed here. Latency is not: a closed loop hides queueing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// What to send, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// `HOST:PORT`.
    pub(crate) address: String,
    /// A whole HTTP/1.1 request, head and body.
    pub(crate) request: Vec<u8>,
    /// Connections, each with one request in flight.
    pub(crate) connections: usize,
    /// Requests over all connections.
    pub(crate) requests: u64,
    /// Every so many requests of a connection, one is sent and the connection closed without reading; 0: never.
    pub(crate) cancel_every: u64,
}

/// How it went.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    /// Answers with status 200.
    pub(crate) answered: u64,
    /// Answers with another status.
    pub(crate) refused: u64,
    /// Requests left without reading the answer.
    pub(crate) cancelled: u64,
    /// Connections that broke.
    pub(crate) broken: u64,
    /// From the first request to the last answer.
    pub(crate) wall: Duration,
}

/// Builds a POST request with these headers.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    [request.as_bytes(), body].concat()
}

/// An Open Inference Protocol request with one binary FP32 `[1, 16]` input `x`.
pub(crate) fn oip_fp32_16(model: &str) -> Vec<u8> {
    let head = r#"{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}],"parameters":{"binary_data_output":true}}"#;
    let values: Vec<u8> = (0_u8..16).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let length = head.len().to_string();
    let headers =
        [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", length.as_str())];
    post(&format!("/v2/models/{model}/infer"), &headers, &[head.as_bytes(), &values].concat())
}

impl Load {
    /// Sends it all.
    ///
    /// # Errors
    /// When no connection can be made at all.
    pub(crate) fn run(&self) -> Result<Outcome> {
        ensure!(self.connections > 0, "at least one connection is needed");
        TcpStream::connect(&self.address).with_context(|| format!("cannot connect to {}", self.address))?;
        let next = AtomicU64::new(0);
        let begin = Instant::now();
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.connections).map(|_| scope.spawn(|| self.connection(&next))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        let mut total = Outcome { wall: begin.elapsed(), ..Outcome::default() };
        for outcome in outcomes {
            total.answered += outcome.answered;
            total.refused += outcome.refused;
            total.cancelled += outcome.cancelled;
            total.broken += outcome.broken;
        }
        Ok(total)
    }

    fn connection(&self, next: &AtomicU64) -> Outcome {
        let mut outcome = Outcome::default();
        let mut stream: Option<BufReader<TcpStream>> = None;
        let mut sent = 0_u64;
        while next.fetch_add(1, Ordering::Relaxed) < self.requests {
            sent += 1;
            let cancel = self.cancel_every > 0 && sent.is_multiple_of(self.cancel_every);
            match self.one(&mut stream, cancel) {
                Ok(None) => outcome.cancelled += 1,
                Ok(Some(200)) => outcome.answered += 1,
                Ok(Some(_)) => outcome.refused += 1,
                Err(_) => {
                    outcome.broken += 1;
                    stream = None;
                }
            }
        }
        outcome
    }

    fn one(&self, stream: &mut Option<BufReader<TcpStream>>, cancel: bool) -> Result<Option<u16>> {
        let reader = match stream {
            Some(reader) => reader,
            None => {
                let connection = TcpStream::connect(&self.address)?;
                connection.set_nodelay(true)?;
                connection.set_read_timeout(Some(Duration::from_secs(60)))?;
                stream.insert(BufReader::with_capacity(16 * 1024, connection))
            }
        };
        reader.get_mut().write_all(&self.request)?;
        if cancel {
            *stream = None;
            return Ok(None);
        }
        let answered = read_answer(reader)?;
        if answered.is_last {
            *stream = None;
        }
        Ok(Some(answered.status))
    }
}

/// What an answer's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The server wants no further request on this connection.
    pub(crate) is_last: bool,
}

/// Reads one answer with a Content-Length.
pub(crate) fn read_answer(reader: &mut impl BufRead) -> Result<Answered> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status line")?;
    let (mut length, mut is_last) = (0, false);
    loop {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the answer ends in its head");
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
        is_last |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(Answered { status, is_last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end() {
        let mut bytes =
            &b"HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                [..];
        assert_eq!(read_answer(&mut bytes).unwrap(), Answered { status: 503, is_last: false });
        assert_eq!(read_answer(&mut bytes).unwrap(), Answered { status: 200, is_last: true });
        assert!(read_answer(&mut bytes).is_err(), "nothing is left");
    }
}
