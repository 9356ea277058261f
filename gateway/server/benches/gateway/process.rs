//! A server as a process of its own, and the CPU time that it has used.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::servers::Kind;

/// Kernel ticks per second of `/proc/PID/stat`: fixed to 100 by Linux's ABI on the architectures that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running server; ended when dropped.
pub struct ServerProcess {
    child: Child,
    pub address: String,
    stdin: Option<ChildStdin>,
    stdout: BufReader<std::process::ChildStdout>,
}

impl ServerProcess {
    pub fn start(kind: Kind, threads: usize) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--serve", kind.name(), "--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().to_owned();
        assert!(!address.is_empty(), "server `{}` did not start", kind.name());
        Self { child, address, stdin, stdout }
    }

    /// CPU seconds used so far. Nanoseconds from the scheduler where it tells them, else ticks.
    pub fn cpu_seconds(&self) -> f64 {
        let pid = self.child.id();
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let nanos: Option<f64> = threads
            .map(|thread| {
                let schedstat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
                schedstat.split_whitespace().next()?.parse::<f64>().ok()
            })
            .sum();
        nanos.filter(|&nanos| nanos > 0.0).map_or_else(|| ticks(pid) / TICKS_PER_SECOND, |nanos| nanos / 1e9)
    }

    /// What the server says of itself since it was asked last, as JSON.
    pub fn report(&mut self) -> serde_json::Value {
        self.stdin.as_mut().unwrap().write_all(b"report\n").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

fn ticks(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stdin = None; // the end of its input is what it waits for
        let _ = self.child.wait();
    }
}
