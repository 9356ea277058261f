//! The Lambda Runtime API for one sandbox, over plain threads.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a sandbox said.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Response(Vec<u8>),
    /// A function error: its type and its body.
    Error(String, String),
    /// It could not start: type and body.
    InitError(String, String),
    /// It ended, with this code.
    Exited(i32),
}

#[derive(Default)]
struct State {
    offers: VecDeque<(Vec<u8>, u128)>,
    replies: VecDeque<Reply>,
    next_request: u64,
    closed: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The server; ends with the value.
pub struct RuntimeApi {
    address: String,
    shared: Shared,
}

impl RuntimeApi {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Shared::default();
        let for_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&for_threads);
                if shared.0.lock().unwrap().closed {
                    return;
                }
                std::thread::spawn(move || serve(&stream.unwrap(), &shared));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Puts up an invocation for the next call of `next`.
    pub fn offer(&self, payload: Vec<u8>, time_left: Duration) {
        let deadline = (SystemTime::now() + time_left).duration_since(UNIX_EPOCH).unwrap().as_millis();
        self.shared.0.lock().unwrap().offers.push_back((payload, deadline));
        self.shared.1.notify_all();
    }

    /// Waits for something that the sandbox says.
    pub fn reply(&self, patience: Duration) -> Option<Reply> {
        let end = Instant::now() + patience;
        let mut state = self.shared.0.lock().unwrap();
        loop {
            if let Some(reply) = state.replies.pop_front() {
                return Some(reply);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap().closed = true;
        self.shared.1.notify_all();
        let _ = TcpStream::connect(&self.address); // so that the listener sees it
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((method, path, error_type, body)) = read_request(&mut reader) {
        let sent = match (method.as_str(), path.rsplit('/').next().unwrap_or_default()) {
            ("GET", "next") => match next(shared) {
                Some(response) => respond(stream, &response),
                None => return,
            },
            ("POST", last) => {
                let text = || String::from_utf8_lossy(&body).into_owned();
                let reply = match last {
                    "response" => Reply::Response(body),
                    _ if path.ends_with("/init/error") => Reply::InitError(error_type, text()),
                    _ => Reply::Error(error_type, text()),
                };
                shared.0.lock().unwrap().replies.push_back(reply);
                shared.1.notify_all();
                respond(
                    stream,
                    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
                )
            }
            _ => respond(stream, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        };
        if !sent {
            return;
        }
    }
}

fn respond(mut stream: &TcpStream, response: &[u8]) -> bool {
    stream.write_all(response).is_ok()
}

fn next(shared: &Shared) -> Option<Vec<u8>> {
    let mut state = shared.0.lock().unwrap();
    loop {
        if state.closed {
            return None;
        }
        if let Some((payload, deadline)) = state.offers.pop_front() {
            state.next_request += 1;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: request-{}\r\n\
                 Lambda-Runtime-Deadline-Ms: {deadline}\r\nLambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:worker\r\n\
                 Content-Length: {}\r\n\r\n",
                state.next_request,
                payload.len()
            );
            return Some([head.into_bytes(), payload].concat());
        }
        state = shared.1.wait(state).unwrap();
    }
}

/// Method, path, error type and body of a request; `None` at the end of the connection.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(String, String, String, Vec<u8>)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut len, mut error_type) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => len = value.trim().parse().ok()?,
            "transfer-encoding" => panic!("chunked bodies are not expected of this runtime"),
            "lambda-runtime-function-error-type" => error_type = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, error_type, body))
}
