//! A bootstrap for conformance and fidelity: speaks the Runtime API over a plain socket and does what the event's
//! `command` says. No async runtime, so that it starts in a few milliseconds. Not a template for real functions.
//!
//! Commands: `echo` (also for events without a command), `spin {cpu_ms, iterations, workers, pieces}`, `sleep {ms}`,
//! `allocate {mib}`, `exit {code}`, `crash`, `error {kind}`, `oversize {bytes}`, `stream {chunks, fail}`, `env`, `cpus`,
//! `who`, `spawn {seconds}`, `ticks`, `print {text}`.
//! Environment: `PROBE_INIT_MS`, `PROBE_INIT_CPU_MS` (slow INIT), `PROBE_INIT_MARKER` (slow only while that file is absent),
//! `PROBE_INIT_EXIT`, `PROBE_INIT_ERROR` (failing INIT), `PROBE_TICKER` (a thread that counts milliseconds).
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a worker's standard output is its log, and a child's is its pipe")]

use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio, exit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds that the ticker thread has counted.
static TICKS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--spin") {
        return spin_child();
    }
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
    if std::env::var("PROBE_TICKER").is_ok() {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_millis(1));
                TICKS.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let Ok(mut api) = RuntimeApi::connect(&address) else { exit(3) };
    initialise(&mut api);
    let mut state = State { invocations: 0, kept: Vec::new(), workers: Vec::new() };
    while let Ok((id, event)) = api.next() {
        state.invocations += 1;
        if serve(&mut api, &mut state, &id, &event).is_err() {
            exit(4);
        }
    }
}

struct State {
    invocations: u64,
    kept: Vec<Vec<u8>>,
    workers: Vec<Child>,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn initialise(api: &mut RuntimeApi) {
    let is_marked = std::env::var("PROBE_INIT_MARKER").is_ok_and(|path| {
        let existed = std::path::Path::new(&path).exists();
        let _ = std::fs::write(&path, "");
        existed
    });
    if !is_marked {
        std::thread::sleep(Duration::from_millis(number("PROBE_INIT_MS").unwrap_or(0)));
        spin(number("PROBE_INIT_CPU_MS").unwrap_or(0) as f64);
    }
    if std::env::var("PROBE_INIT_ERROR").is_ok() {
        let body = json!({ "errorMessage": "the model cannot be loaded", "errorType": "Probe.InitError" });
        let _ = api.post(
            "init/error",
            &["Lambda-Runtime-Function-Error-Type: Probe.InitError"],
            body.to_string().as_bytes(),
        );
        exit(1);
    }
    if let Some(code) = number("PROBE_INIT_EXIT") {
        exit(i32::try_from(code).unwrap_or(1));
    }
}

fn serve(api: &mut RuntimeApi, state: &mut State, id: &str, event: &[u8]) -> std::io::Result<()> {
    let parsed: Value = serde_json::from_slice(event).unwrap_or(Value::Null);
    let of = |name: &str, default: u64| parsed.get(name).and_then(Value::as_u64).unwrap_or(default);
    let text = |name: &str| parsed.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let reply = match text("command").as_str() {
        "spin" => spin_command(state, &parsed)?,
        "sleep" => {
            std::thread::sleep(Duration::from_millis(of("ms", 0)));
            json!({ "slept_ms": of("ms", 0) })
        }
        "allocate" => allocate(state, of("mib", 1)),
        "exit" => exit(i32::try_from(of("code", 0)).unwrap_or(1)),
        "crash" => std::process::abort(),
        "error" => {
            let kind = format!("Lambda-Runtime-Function-Error-Type: {}", text("kind"));
            let body = json!({ "errorMessage": "as asked for", "errorType": "Probe.Error" });
            return api.post(&format!("invocation/{id}/error"), &[&kind], body.to_string().as_bytes());
        }
        "oversize" => Value::String("x".repeat(usize::try_from(of("bytes", 0)).unwrap_or(0))),
        "stream" => return api.stream(id, of("chunks", 2), parsed.get("fail").is_some()),
        "env" => std::env::vars().map(|(name, value)| (name, Value::String(value))).collect(),
        "cpus" => {
            json!({ "visible": number("PENSTOCK_VISIBLE_CPUS"), "memory_mib": number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE") })
        }
        "who" => json!({ "process_id": std::process::id(), "invocations": state.invocations }),
        "spawn" => {
            let child = Command::new("/bin/sleep").arg(of("seconds", 60).to_string()).spawn()?;
            json!({ "process_id": child.id() })
        }
        "ticks" => json!({ "ticks": TICKS.load(Ordering::Relaxed) }),
        "print" => {
            println!("{}", text("text"));
            json!({ "printed": true })
        }
        _ => return api.post(&format!("invocation/{id}/response"), &[], event),
    };
    api.post(&format!("invocation/{id}/response"), &[], reply.to_string().as_bytes())
}

fn allocate(state: &mut State, mib: u64) -> Value {
    let bytes = usize::try_from(mib << 20).unwrap_or(0);
    // A byte that is not zero is really written, so that the memory is really taken.
    state.kept.push(vec![1; bytes]);
    json!({ "kept_mib": state.kept.iter().map(Vec::len).sum::<usize>() >> 20 })
}

/// CPU time of this thread, ms.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
    time.as_secs_f64() * 1000.0
}

/// Uses `target_ms` of CPU time, whatever the wall clock says.
fn spin(target_ms: f64) {
    let begin = cpu_ms();
    while cpu_ms() - begin < target_ms {
        std::hint::black_box((0..2_000_u64).fold(0, |sum, value| sum ^ value.wrapping_mul(sum | 1)));
    }
}

/// Steps of `cpu_ms` each, one after the other; with `workers`, each step is cut into `pieces` equal,
/// indivisible pieces that are dealt out to the worker processes, which run at once.
fn spin_command(state: &mut State, event: &Value) -> std::io::Result<Value> {
    let of = |name: &str, default: u64| event.get(name).and_then(Value::as_u64).unwrap_or(default);
    let target = event.get("cpu_ms").and_then(Value::as_f64).unwrap_or(1.0);
    let wanted = usize::try_from(of("workers", 0)).unwrap_or(0);
    let pieces = of("pieces", of("workers", 0)).max(1);
    while state.workers.len() < wanted {
        state.workers.push(start_worker()?);
    }
    let (mut walls, mut used) = (Vec::new(), 0.0);
    for _ in 0..of("iterations", 1) {
        let begin = Instant::now();
        if wanted == 0 {
            let before = cpu_ms();
            spin(target);
            used += cpu_ms() - before;
        } else {
            used += spin_workers(&mut state.workers[..wanted], pieces, target / pieces as f64)?;
        }
        walls.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(json!({ "wall_ms": walls, "cpu_ms": used }))
}

fn start_worker() -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    Command::new(program).arg("--spin").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// Deals `pieces` of `piece_ms` CPU time each out to the workers; returns what they used in all.
fn spin_workers(workers: &mut [Child], pieces: u64, piece_ms: f64) -> std::io::Result<f64> {
    let missing = || std::io::Error::other("a worker has no pipe");
    let count = workers.len() as u64;
    for (index, worker) in (0..).zip(workers.iter_mut()) {
        let dealt = pieces / count + u64::from(index < pieces % count);
        let pipe = worker.stdin.as_mut().ok_or_else(missing)?;
        writeln!(pipe, "{}", dealt as f64 * piece_ms)?;
        pipe.flush()?;
    }
    let mut used = 0.0;
    for worker in workers {
        let mut line = Vec::new();
        let pipe = worker.stdout.as_mut().ok_or_else(missing)?;
        let mut byte = [0];
        while pipe.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        used += String::from_utf8_lossy(&line).parse().unwrap_or(0.0);
    }
    Ok(used)
}

/// A worker process: reads how many ms of CPU time to use, uses them, says how many it used.
fn spin_child() {
    for line in std::io::stdin().lines() {
        let Some(target) = line.ok().and_then(|line| line.trim().parse().ok()) else {
            return;
        };
        let before = cpu_ms();
        spin(target);
        println!("{}", cpu_ms() - before);
    }
}

/// One kept connection to the Runtime API.
struct RuntimeApi {
    address: String,
    stream: BufReader<TcpStream>,
}

impl RuntimeApi {
    fn connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { address: address.to_owned(), stream: BufReader::new(stream) })
    }

    /// Waits for the next event; returns its request id and payload.
    fn next(&mut self) -> std::io::Result<(String, Vec<u8>)> {
        let head =
            format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(head.as_bytes())?;
        let (headers, body) = self.read_answer()?;
        let id = headers.iter().find_map(|line| line.strip_prefix("lambda-runtime-aws-request-id: "));
        Ok((id.unwrap_or_default().to_owned(), body))
    }

    /// Posts a body in one write.
    fn post(&mut self, path: &str, headers: &[&str], body: &[u8]) -> std::io::Result<()> {
        let mut message = format!(
            "POST /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        for header in headers {
            message.extend_from_slice(header.as_bytes());
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(body);
        self.stream.get_mut().write_all(&message)?;
        self.read_answer().map(|_| ())
    }

    /// Answers in streaming mode: chunks that join to a JSON string, and an error trailer if it is to fail.
    fn stream(&mut self, id: &str, chunks: u64, fails: bool) -> std::io::Result<()> {
        let mut message = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {}\r\n\
             Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\
             Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n1\r\n\"\r\n",
            self.address
        );
        (0..chunks).for_each(|_| message.push_str("3\r\nabc\r\n"));
        message.push_str("1\r\n\"\r\n0\r\n");
        if fails {
            message.push_str("Lambda-Runtime-Function-Error-Type: Probe.Late\r\nLambda-Runtime-Function-Error-Body: e30=\r\n");
        }
        message.push_str("\r\n");
        self.stream.get_mut().write_all(message.as_bytes())?;
        self.read_answer().map(|_| ())
    }

    /// Reads one answer: header lines in lower case, and the body.
    fn read_answer(&mut self) -> std::io::Result<(Vec<String>, Vec<u8>)> {
        let (mut headers, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            if name == "content-length" {
                length = value.parse().unwrap_or(0);
            }
            headers.push(format!("{name}: {value}"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((headers, body))
    }
}
