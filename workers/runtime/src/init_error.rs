//! Tells Lambda that this sandbox cannot start: `POST /2018-06-01/runtime/init/error`.
//!
//! Plain blocking HTTP over `std`: it runs in the process that failed to load, which has no async runtime and must not get one.
//! Deliberately absent: retries. Lambda also notices the exit that follows.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// Reports; whether that went well is of no consequence, as the process ends next.
pub(crate) fn report(runtime_api: &str, error_type: &str, message: &str) {
    tracing::error!(error_type, error = message, "worker cannot start");
    if let Err(error) = post(runtime_api, error_type, message) {
        tracing::error!(%error, "the start error could not be reported");
    }
}

fn post(runtime_api: &str, error_type: &str, message: &str) -> std::io::Result<()> {
    let body =
        serde_json::json!({ "errorType": error_type, "errorMessage": message, "stackTrace": [] }).to_string();
    let address = runtime_api
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the Runtime API has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: {runtime_api}\r\nContent-Type: application/json\r\n\
         Lambda-Runtime-Function-Error-Type: {error_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut first_bytes = [0; 16];
    stream.read(&mut first_bytes).map(drop)
}
