//! Upgrades under load: a new gateway takes the listening sockets over from the running one, again and again, while requests come at a fixed rate.
//!
//! The load is open: each request has its time, whatever became of those before. Every second one opens a connection of its own, the others keep theirs
//! for as long as the answers permit. What a client meets counts, nothing else: a connection that was refused, an answer that is not 200, and a
//! connection that ended without an answer.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::load::{self, Answered};
use crate::setup::Setup;
use crate::stack::Stack;
use crate::{build, table};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Upgrades, one after the other.
    #[arg(long, default_value_t = 20)]
    upgrades: usize,
    /// Requests per second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Threads that send.
    #[arg(long, default_value_t = 32)]
    senders: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    upgrades: usize,
    requests: u64,
    answered: u64,
    /// Connections that were refused.
    refused: u64,
    /// Answers with another status than 200.
    failed: u64,
    /// Requests whose connection ended without an answer.
    lost: u64,
    /// Connections that were opened.
    connections: u64,
    /// From the start of the new process to the end of the old one, the longest.
    longest_upgrade_ms: f64,
    /// From a request's time to its answer.
    latency_ms: Latency,
}

#[derive(Debug, Serialize)]
struct Latency {
    median: f64,
    p99: f64,
    longest: f64,
}

#[derive(Default)]
struct Met {
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    connections: AtomicU64,
    latencies: Mutex<Vec<f64>>,
}

/// Runs it.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    ensure!(arguments.rate > 0 && arguments.senders > 0, "there must be a load");
    let binaries = build::binaries(setup.workspace())?;
    let mut stack = Stack::start_identity(setup, "upgrades", 16, "")?;
    let address = format!("127.0.0.1:{}", stack.ports.public);
    let (met, over, next) = (Met::default(), AtomicBool::new(false), AtomicU64::new(0));
    let begin = Instant::now();
    let took = std::thread::scope(|scope| {
        for _ in 0..arguments.senders {
            scope.spawn(|| send(&address, arguments.rate, begin, &next, &over, &met));
        }
        let upgrade = |number| -> Result<Duration> {
            std::thread::sleep(Duration::from_millis(500));
            let took = stack.upgrade_gateway(&binaries, number)?;
            eprintln!("upgrades: {number} of {} took {:.0} ms", arguments.upgrades, took.as_secs_f64() * 1e3);
            Ok(took)
        };
        let took = (1..=arguments.upgrades).map(upgrade).collect::<Result<Vec<_>>>();
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        took
    })?;
    let report = report(met, &took);
    show(&report);
    super::write_json(json, &report)?;
    stack.stop()?;
    ensure!(
        report.refused == 0 && report.failed == 0 && report.lost == 0,
        "{} refused, {} failed, {} lost",
        report.refused,
        report.failed,
        report.lost
    );
    Ok(())
}

/// Sends every request that is due and nobody else has sent.
fn send(address: &str, rate: u64, begin: Instant, next: &AtomicU64, over: &AtomicBool, met: &Met) {
    let request = load::oip_fp32_16("identity");
    let mut kept: Option<BufReader<TcpStream>> = None;
    let mut latencies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let due = begin + Duration::from_secs_f64(number as f64 / rate as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let keeps = number.is_multiple_of(2);
        // As connection pools do: one that was closed while nobody used it is not sent a request.
        let open = if keeps { kept.take().filter(is_open) } else { None };
        let reader = match open {
            Some(reader) => reader,
            None => match connect(address) {
                Ok(reader) => {
                    met.connections.fetch_add(1, Ordering::Relaxed);
                    reader
                }
                Err(_) => {
                    met.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            },
        };
        match exchange(reader, &request) {
            Ok((Answered { status: 200, is_last }, reader)) => {
                met.answered.fetch_add(1, Ordering::Relaxed);
                latencies.push(due.elapsed().as_secs_f64() * 1e3);
                if keeps && !is_last {
                    kept = Some(reader);
                }
            }
            Ok(_) => {
                met.failed.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                met.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    if let Ok(mut all) = met.latencies.lock() {
        all.append(&mut latencies);
    }
}

fn is_open(reader: &BufReader<TcpStream>) -> bool {
    let stream = reader.get_ref();
    let seen = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_silent = seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    is_silent && stream.set_nonblocking(false).is_ok()
}

fn connect(address: &str) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(BufReader::new(stream))
}

fn exchange(mut reader: BufReader<TcpStream>, request: &[u8]) -> Result<(Answered, BufReader<TcpStream>)> {
    reader.get_mut().write_all(request)?;
    let answered = load::read_answer(&mut reader)?;
    Ok((answered, reader))
}

fn report(met: Met, took: &[Duration]) -> Report {
    let mut latencies = met.latencies.into_inner().unwrap_or_default();
    latencies.sort_by(f64::total_cmp);
    let at = |share: usize| {
        latencies
            .get((latencies.len() * share / 1000).min(latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    };
    let [answered, refused, failed, lost] =
        [met.answered, met.refused, met.failed, met.lost].map(AtomicU64::into_inner);
    Report {
        upgrades: took.len(),
        requests: answered + refused + failed + lost,
        answered,
        refused,
        failed,
        lost,
        connections: met.connections.into_inner(),
        longest_upgrade_ms: took.iter().max().map_or(0.0, Duration::as_secs_f64) * 1e3,
        latency_ms: Latency { median: at(500), p99: at(990), longest: at(1000) },
    }
}

fn show(report: &Report) {
    let row = [
        report.upgrades.to_string(),
        report.requests.to_string(),
        report.answered.to_string(),
        report.refused.to_string(),
        report.failed.to_string(),
        report.lost.to_string(),
        report.connections.to_string(),
        format!("{:.1}", report.latency_ms.median),
        format!("{:.1}", report.latency_ms.p99),
        format!("{:.0}", report.latency_ms.longest),
    ];
    let head = [
        "upgrades",
        "requests",
        "answered",
        "refused",
        "failed",
        "lost",
        "connections",
        "median ms",
        "p99 ms",
        "max ms",
    ];
    println!("{}", table::format(&head, &[row.to_vec()]));
}
