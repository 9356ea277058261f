//! `penstock serve` as a process of a test: its log, its signals, and a request to it.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A model that gives a number back.
pub(crate) const MANIFEST: &str = r#"name = "identity"
version = "1"
engine = "identity"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [1]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [1]
"#;

pub(crate) struct Gateway {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Gateway {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.env("NO_COLOR", "1").stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            lines.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, log, seen: Vec::new() }
    }

    pub(crate) fn of(config: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        command.args(["serve", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Waits for a line of the log that has this text, if there was none yet.
    pub(crate) fn said(&mut self, text: &str) -> String {
        let said = self.said_within(text, Duration::from_secs(30));
        said.unwrap_or_else(|| panic!("it did not say `{text}`: {:#?}", self.seen))
    }

    pub(crate) fn said_within(&mut self, text: &str, limit: Duration) -> Option<String> {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return Some(line.clone());
        }
        let until = Instant::now() + limit;
        loop {
            let line = self.log.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
            self.seen.push(line.clone());
            if line.contains(text) {
                return Some(line);
            }
        }
    }

    pub(crate) fn address(&mut self, key: &str) -> String {
        let line = self.said("gateway is serving");
        line.split_once(key).unwrap().1.split_whitespace().next().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not end: {:#?}", self.log.try_iter().collect::<Vec<_>>());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends what runs beside a test, also when the test fails.
pub(crate) struct EndsAtDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for EndsAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One request on this connection; gives the number that came back, and whether the connection may be used again.
pub(crate) fn ask(stream: &mut TcpStream, number: u64) -> Option<(f64, bool)> {
    let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,1],"data":[{number}]}}]}}"#);
    let length = body.len();
    let head =
        format!("POST /v2/models/identity/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut is_last = false;
    let (mut first, mut length) = (String::new(), 0_usize);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        is_last |= line == "connection: close";
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&answer).ok()?;
    first.contains(" 200 ").then_some(())?;
    Some((value["outputs"][0]["data"][0].as_f64()?, !is_last))
}
