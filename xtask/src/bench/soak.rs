//! Memory and descriptors of the gateway over many requests, with callers that leave, faults of Lambda and reloads in between.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use crate::load::{self, Load};
use crate::setup::Setup;
use crate::stack::Stack;
use crate::{measure, table};

/// The first rounds fill pools and caches; growth is counted from the end of this one.
const SETTLED_ROUND: usize = 2;
const ROUNDS: usize = 10;

/// Faults that Lambda shows throughout: one call in so many.
const FAULTS: &str = r#"
[[fault]]
every = 97
action = { kind = "throttle" }

[[fault]]
every = 211
action = { kind = "status", code = 503 }

[[fault]]
every = 503
action = { kind = "lost_response" }
"#;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Requests in all.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Parallel connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

#[derive(Debug, Serialize)]
struct Round {
    requests: u64,
    answered: u64,
    refused: u64,
    cancelled: u64,
    broken: u64,
    resident_bytes: u64,
    descriptors: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    rounds: Vec<Round>,
    /// Resident memory at the end over that after the settled round.
    resident_ratio: f64,
    /// Open descriptors at the end less those after the settled round.
    descriptors_grown: i64,
    retries: f64,
    reloads: f64,
    queue_items_left: f64,
}

/// Runs it.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let stack = Stack::start_identity(setup, "soak", 4, FAULTS)?;
    let load = Load {
        address: format!("127.0.0.1:{}", stack.ports.public),
        request: load::oip_fp32_16("identity"),
        connections: arguments.connections,
        requests: arguments.requests / ROUNDS as u64,
        cancel_every: 50,
    };
    let (gateway, _) = stack.pids();
    let over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        scope.spawn(|| reload_until(&over, gateway));
        let rounds = (1..=ROUNDS).map(|number| round(&stack, &load, number)).collect::<Result<Vec<_>>>();
        over.store(true, Ordering::Relaxed);
        rounds
    })?;
    let report = report(&stack, rounds)?;
    show(&report);
    super::write_json(json, &report)?;
    stack.stop()?;
    let broken: u64 = report.rounds.iter().map(|round| round.broken).sum();
    ensure!(broken == 0, "{broken} connections broke");
    Ok(())
}

fn round(stack: &Stack, load: &Load, number: usize) -> Result<Round> {
    let outcome = load.run()?;
    std::thread::sleep(Duration::from_millis(500)); // what still drains is not growth
    let (resident_bytes, descriptors) = measure::memory_and_descriptors(stack.pids().0)?;
    eprintln!(
        "soak: round {number} of {ROUNDS}, {:.0} requests/s",
        load.requests as f64 / outcome.wall.as_secs_f64()
    );
    Ok(Round {
        requests: load.requests,
        answered: outcome.answered,
        refused: outcome.refused,
        cancelled: outcome.cancelled,
        broken: outcome.broken,
        resident_bytes,
        descriptors,
    })
}

fn reload_until(over: &AtomicBool, gateway: u32) {
    let Ok(pid) = i32::try_from(gateway) else { return };
    while !over.load(Ordering::Relaxed) {
        // A gateway that is gone shows in the load's outcome.
        let _ = kill(Pid::from_raw(pid), Signal::SIGHUP);
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn report(stack: &Stack, rounds: Vec<Round>) -> Result<Report> {
    let metrics = stack.metrics()?;
    let (settled, last) = (&rounds[SETTLED_ROUND - 1], &rounds[ROUNDS - 1]);
    Ok(Report {
        resident_ratio: last.resident_bytes as f64 / settled.resident_bytes as f64,
        descriptors_grown: i64::try_from(last.descriptors)? - i64::try_from(settled.descriptors)?,
        retries: metrics.sum("penstock_retries_total", &[]),
        reloads: metrics.sum("penstock_config_reloads_total", &[]),
        queue_items_left: metrics.sum("penstock_queue_items", &[]),
        rounds,
    })
}

fn show(report: &Report) {
    let row = |(index, round): (usize, &Round)| {
        vec![
            (index + 1).to_string(),
            round.answered.to_string(),
            round.refused.to_string(),
            round.cancelled.to_string(),
            round.broken.to_string(),
            format!("{:.1}", round.resident_bytes as f64 / f64::from(1 << 20)),
            round.descriptors.to_string(),
        ]
    };
    let rows: Vec<_> = report.rounds.iter().enumerate().map(row).collect();
    println!(
        "{}",
        table::format(
            &["round", "answered", "refused", "cancelled", "broken", "resident MiB", "descriptors"],
            &rows
        )
    );
    println!(
        "resident memory ×{:.3} and {:+} descriptors since round {SETTLED_ROUND}; {} retries, {} reloads, {} items left waiting",
        report.resident_ratio,
        report.descriptors_grown,
        report.retries,
        report.reloads,
        report.queue_items_left
    );
}
