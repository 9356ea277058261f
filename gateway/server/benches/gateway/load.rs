//! A load generator that costs little: raw sockets, one prepared request, answers read by their length.
//!
//! Closed loop: each connection sends when its answer has come. Open loop: each has its own Poisson schedule; a request whose
//! connection was still busy at its time counts from that time on, so that a slow server cannot hide its queue. A timer that
//! fires late (its grain is 1 ms) is the generator's fault and does not count.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is sent where.
#[derive(Clone)]
pub struct Target {
    address: String,
    request: Vec<u8>,
}

impl Target {
    /// One binary FP32[1,16] tensor to a model.
    pub fn inference(url: &str, model: &str, input: &str) -> Self {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let json = format!(
            r#"{{"inputs":[{{"name":"{input}","shape":[1,16],"datatype":"FP32","parameters":{{"binary_data_size":64}}}}],"parameters":{{"binary_data_output":true}}}}"#
        );
        let tensor: Vec<u8> = (0..16_u16).flat_map(|index| (f32::from(index) + 0.5).to_le_bytes()).collect();
        let mut request = format!(
            "POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {address}\r\nInference-Header-Content-Length: {}\r\nContent-Length: {}\r\n",
            json.len(),
            json.len() + tensor.len()
        )
        .into_bytes();
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(json.as_bytes());
        request.extend_from_slice(&tensor);
        Self { address, request }
    }

    /// The same, asking for receipts.
    pub fn with_receipts(&self) -> Self {
        let mut request = Vec::with_capacity(self.request.len() + 32);
        let line = self.request.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        request.extend_from_slice(&self.request[..line]);
        request.extend_from_slice(b"Penstock-Receipt: 1\r\n");
        request.extend_from_slice(&self.request[line..]);
        Self { address: self.address.clone(), request }
    }
}

/// One answered request, all in microseconds.
#[derive(Clone, Copy, Default)]
pub struct Sample {
    pub latency_us: f64,
    /// From the receipt, if one was asked for.
    pub queue_wait_us: f64,
    pub invoke_us: f64,
}

/// What a run saw.
#[derive(Default)]
pub struct Summary {
    pub seconds: f64,
    pub errors: u64,
    pub samples: Vec<Sample>,
}

impl Summary {
    pub fn requests_per_second(&self) -> f64 {
        self.samples.len() as f64 / self.seconds
    }

    /// Quantile `q` of what `of` takes from a sample.
    pub fn quantile(&self, q: f64, of: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.samples.iter().map(of).collect();
        if values.is_empty() {
            return f64::NAN;
        }
        values.sort_unstable_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let index = (q * (values.len() - 1) as f64).round() as usize;
        values[index]
    }

    pub fn to_json(&self) -> Value {
        let latency = |q| self.quantile(q, |sample| sample.latency_us) / 1000.0;
        json!({
            "requests": self.samples.len(),
            "errors": self.errors,
            "requests_per_second": self.requests_per_second(),
            "p50_ms": latency(0.5),
            "p95_ms": latency(0.95),
            "p99_ms": latency(0.99),
        })
    }
}

/// Loads a server for `time`, as fast as answers come or at `rate` requests per second.
pub async fn run(target: &Target, connections: usize, rate: Option<f64>, time: Duration) -> Summary {
    let start = Instant::now();
    let end = start + time;
    let tasks: Vec<_> = (0..connections)
        .map(|index| {
            let target = target.clone();
            let schedule = rate.map(|rate| Schedule::new(rate / connections as f64, index as u64 + 1));
            tokio::spawn(async move { one_connection(&target, schedule, end).await })
        })
        .collect();
    let mut summary = Summary::default();
    for task in tasks {
        let part = task.await.unwrap();
        summary.errors += part.errors;
        summary.samples.extend(part.samples);
    }
    summary.seconds = start.elapsed().as_secs_f64();
    summary
}

async fn one_connection(target: &Target, mut schedule: Option<Schedule>, end: Instant) -> Summary {
    let mut summary = Summary::default();
    let mut due = Instant::now();
    'connect: while due < end {
        let Ok(mut stream) = TcpStream::connect(&target.address).await else {
            summary.errors += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            due = Instant::now();
            continue;
        };
        stream.set_nodelay(true).unwrap();
        let mut buffer = Vec::with_capacity(16 * 1024);
        loop {
            let mut begun = Instant::now();
            if let Some(schedule) = &mut schedule {
                due += schedule.gap();
                if due > begun {
                    tokio::time::sleep_until(due.into()).await;
                    begun = Instant::now();
                } else {
                    begun = due;
                }
            }
            if begun >= end {
                break 'connect;
            }
            match exchange(&mut stream, &target.request, &mut buffer).await {
                Some((queue_wait_us, invoke_us)) => {
                    let latency_us = begun.elapsed().as_secs_f64() * 1e6;
                    summary.samples.push(Sample { latency_us, queue_wait_us, invoke_us });
                }
                None => {
                    summary.errors += 1;
                    continue 'connect;
                }
            }
        }
    }
    summary
}

/// Sends a request and reads its answer; gives the receipt's times. `None`: no answer with status 200.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> Option<(f64, f64)> {
    stream.write_all(request).await.ok()?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let length = number_after(&buffer[..head], b"content-length: ")?;
        if (buffer.len() as f64) < head as f64 + 4.0 + length {
            continue;
        }
        let is_ok = buffer.starts_with(b"HTTP/1.1 200");
        let body = &buffer[head + 4..];
        let queue_wait_us = number_after(body, b"\"penstock_queue_wait_us\":").unwrap_or(0.0);
        let invoke_us = number_after(body, b"\"penstock_invoke_us\":").unwrap_or(0.0);
        return is_ok.then_some((queue_wait_us, invoke_us));
    }
}

/// The number behind a key, up to the first byte that is no digit.
fn number_after(text: &[u8], key: &[u8]) -> Option<f64> {
    let start = text.windows(key.len()).position(|window| window.eq_ignore_ascii_case(key))? + key.len();
    let digits: String =
        text[start..].iter().map_while(|&byte| byte.is_ascii_digit().then_some(char::from(byte))).collect();
    digits.parse().ok()
}

/// Exponential gaps from a seed (xorshift64*).
struct Schedule {
    mean_seconds: f64,
    state: u64,
}

impl Schedule {
    fn new(rate: f64, seed: u64) -> Self {
        Self { mean_seconds: 1.0 / rate, state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    fn gap(&mut self) -> Duration {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let bits = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        let uniform = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-uniform.ln() * self.mean_seconds)
    }
}
