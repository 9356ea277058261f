//! Requests per CPU-second: the gateway alone (its own bench, with invocations answered in-process), then with nothing left out:
//! SDK, emulator and an echo worker, beside other servers with a batcher in the same run.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::load::{self, Load};
use crate::measure;
use crate::setup::Setup;
use crate::stack::Stack;
use crate::{build, table};

use super::peers::{Peer, Peers};

/// Rounds of each server, interleaved; the median is reported.
const ROUNDS: usize = 5;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also run Triton and mosec from their Python packages.
    #[arg(long)]
    peers: bool,
    /// Requests per server and round, with nothing left out.
    #[arg(long, default_value_t = 60_000)]
    requests: u64,
    /// Parallel connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Leave out the gateway's own bench.
    #[arg(long)]
    only_full: bool,
}

/// A server under load: where, what it is sent, and the roots of its process trees.
struct Server {
    name: String,
    address: String,
    request: Vec<u8>,
    roots: Vec<u32>,
    requests_per_cpu_second: Vec<f64>,
}

/// Runs it.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let mut report = if arguments.only_full { json!({}) } else { gateway_alone(setup)? };
    let stack = Stack::start_identity(setup, "gateway", 2, "")?;
    let (gateway, emulator) = stack.pids();
    let mut servers = vec![Server {
        name: "penstock (gateway, SDK, emulator, worker)".to_owned(),
        address: format!("127.0.0.1:{}", stack.ports.public),
        request: load::oip_fp32_16("identity"),
        roots: vec![gateway, emulator],
        requests_per_cpu_second: Vec::new(),
    }];
    let peers = if arguments.peers { start_peers(setup)? } else { Vec::new() };
    servers.extend(peers.iter().map(|peer| Server {
        name: peer.name.to_owned(),
        address: peer.address.clone(),
        request: peer.request.clone(),
        roots: vec![peer.pid()],
        requests_per_cpu_second: Vec::new(),
    }));
    for round in 0..=ROUNDS {
        for server in &mut servers {
            let rate = measure_once(server, arguments)?;
            if round > 0 {
                server.requests_per_cpu_second.push(rate); // the first round warms up
            }
        }
    }
    let mut rows = Vec::new();
    for (index, server) in servers.iter_mut().enumerate() {
        let median = measure::median(&mut server.requests_per_cpu_second);
        let key = if index == 0 {
            "full_requests_per_cpu_second".to_owned()
        } else {
            format!("{}_requests_per_cpu_second", server.name)
        };
        report[key] = json!(median.round());
        rows.push(vec![server.name.clone(), format!("{median:.0}")]);
    }
    let metrics = stack.metrics()?;
    report["full_mean_fill"] =
        json!(metrics.sum("penstock_batch_items_sum", &[]) / metrics.sum("penstock_batch_items_count", &[]));
    println!(
        "{}",
        table::format(&["with nothing left out, all processes counted", "requests per CPU-second"], &rows)
    );
    super::write_json(json, &report)?;
    drop(peers);
    stack.stop()
}

fn gateway_alone(setup: &Setup) -> Result<Value> {
    let file = setup.cache().join("runs/gateway-bench.json");
    std::fs::create_dir_all(setup.cache().join("runs"))?;
    let mut command = build::cargo_command(setup.workspace());
    command.args(["bench", "--package", "gateway-server", "--bench", "gateway", "--", "--json"]);
    build::run(command.arg(&file).current_dir(setup.workspace()))?;
    serde_json::from_slice(&std::fs::read(&file)?).context("the gateway bench's report")
}

fn start_peers(setup: &Setup) -> Result<Vec<Peer>> {
    let peers = Peers::install(setup)?;
    Ok(vec![peers.triton()?, peers.mosec()?])
}

fn measure_once(server: &Server, arguments: &Arguments) -> Result<f64> {
    let load = Load {
        address: server.address.clone(),
        request: server.request.clone(),
        connections: arguments.connections,
        requests: arguments.requests,
        cancel_every: 0,
    };
    let before = measure::tree_cpu_seconds(&server.roots)?;
    let outcome = load.run()?;
    let used = measure::tree_cpu_seconds(&server.roots)? - before;
    ensure!(outcome.answered == load.requests, "{}: {outcome:?}", server.name);
    eprintln!(
        "gateway: {}: {:.0} requests/s, {:.0} per CPU-second",
        server.name,
        outcome.answered as f64 / outcome.wall.as_secs_f64(),
        outcome.answered as f64 / used
    );
    Ok(outcome.answered as f64 / used)
}
