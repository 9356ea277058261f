//! One blocking invocation over a bare socket. Not a general HTTP client.

use crate::Failure;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What one invocation gave.
pub(crate) struct Invoked {
    /// The probe's reply.
    pub(crate) reply: Value,
    /// `Billed Duration` of the REPORT line, ms.
    pub(crate) billed_ms: f64,
}

/// Invokes the probe at `memory_mib` and waits for the answer.
pub(crate) fn invoke(address: SocketAddr, memory_mib: u32, event: &Value) -> Result<Invoked, Failure> {
    let body = event.to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /2015-03-31/functions/probe/invocations?Qualifier=mem-{memory_mib} HTTP/1.1\r\nHost: probe\r\n\
         X-Amz-Log-Type: Tail\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the emulator gave no answer")?;
    if !head.starts_with("HTTP/1.1 200") || head.contains("x-amz-function-error") {
        return Err(format!("the invocation failed: {head} {body}").into());
    }
    let tail = head
        .lines()
        .find_map(|line| line.strip_prefix("x-amz-log-result: "))
        .ok_or("the answer has no log")?;
    let tail = String::from_utf8(base64_simd::STANDARD.decode_to_vec(tail.trim())?)?;
    let billed = tail.split('\t').find_map(|field| field.strip_prefix("Billed Duration: "));
    let billed_ms = billed
        .and_then(|field| field.trim_end_matches(" ms").parse().ok())
        .ok_or("the log has no REPORT line")?;
    Ok(Invoked { reply: serde_json::from_str(body)?, billed_ms })
}
