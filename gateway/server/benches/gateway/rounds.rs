//! The measurement: rounds over all servers in turn, medians over rounds, a table and JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::args::Args;
use crate::load::{self, Summary, Target};
use crate::process::ServerProcess;
use crate::servers::Kind;

/// One phase of one server.
struct Phase {
    cpu_us_per_request: f64,
    requests_per_second: f64,
    /// Items per invocation; `NaN` where nothing is invoked.
    fill: f64,
    /// Of the stand-in worker, per request, inside the server's process.
    worker_us_per_request: f64,
    /// Reading, validating and writing, per request, as the server's own clock says; `NaN` for the echo.
    decode_us: f64,
    encode_us: f64,
}

pub fn measure(args: &Args) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut servers: Vec<(Kind, ServerProcess)> =
        Kind::ALL.into_iter().map(|kind| (kind, ServerProcess::start(kind, args.threads))).collect();
    let time = Duration::from_secs_f64(args.seconds);
    let mut phases: Vec<Vec<Phase>> = Kind::ALL.iter().map(|_| Vec::new()).collect();
    for round in 0..=args.rounds {
        for (index, (_, server)) in servers.iter_mut().enumerate() {
            // Round 0 warms up: connections, allocator, branch predictors.
            let time = if round == 0 { time / 4 } else { time };
            let phase = runtime.block_on(saturate(server, args.connections, time));
            if round > 0 {
                phases[index].push(phase);
            }
        }
    }
    let batched = Kind::ALL.iter().position(|&kind| kind == Kind::Batched).unwrap();
    let saturation = median(&phases[batched], |phase| phase.requests_per_second);
    let overhead = runtime.block_on(half_load(&servers[batched].1, args, saturation / 2.0, time));
    let figures = figures(&phases, saturation, &overhead, args);
    print_table(&phases, &figures);
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures).unwrap() + "\n").unwrap();
    }
}

/// Closed loop, as many connections as asked for.
async fn saturate(server: &mut ServerProcess, connections: usize, time: Duration) -> Phase {
    let target = Target::inference(&server.address, "identity", "x");
    server.report();
    let before = stage_times(&server.address).await;
    let cpu = server.cpu_seconds();
    let summary = load::run(&target, connections, None, time).await;
    let cpu = server.cpu_seconds() - cpu;
    let after = stage_times(&server.address).await;
    assert_eq!(summary.errors, 0, "requests failed");
    let requests = summary.samples.len() as f64;
    let report = server.report();
    let count = |key: &str| report[key].as_f64().unwrap_or(0.0);
    let stage = |index: usize| (after[index] - before[index]) / 1000.0 / requests;
    Phase {
        cpu_us_per_request: cpu * 1e6 / requests,
        requests_per_second: summary.requests_per_second(),
        fill: count("items") / count("invocations"),
        worker_us_per_request: count("worker_ns") / 1000.0 / requests,
        decode_us: stage(0),
        encode_us: stage(1),
    }
}

/// Nanoseconds of decoding and encoding so far, from the statistics extension; `NaN` where there is none.
async fn stage_times(address: &str) -> [f64; 2] {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET /v2/models/identity/stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let nanos =
        |stage: &str| body["model_stats"][0]["inference_stats"][stage]["ns"].as_f64().unwrap_or(f64::NAN);
    [nanos("compute_input"), nanos("compute_output")]
}

/// Open loop with receipts; the median of the rounds' 99th percentiles decides.
async fn half_load(server: &ServerProcess, args: &Args, rate: f64, time: Duration) -> Vec<Summary> {
    let target = Target::inference(&server.address, "identity", "x").with_receipts();
    let mut summaries = Vec::new();
    for _ in 0..args.rounds.max(1) {
        summaries.push(load::run(&target, args.connections, Some(rate), time).await);
    }
    summaries
}

fn figures(phases: &[Vec<Phase>], saturation: f64, overhead: &[Summary], args: &Args) -> Value {
    let of = |kind: Kind, what: fn(&Phase) -> f64| {
        median(&phases[Kind::ALL.iter().position(|&other| other == kind).unwrap()], what)
    };
    let cpu = |kind| of(kind, |phase| phase.cpu_us_per_request);
    let [echo, http, unbatched, batched] = Kind::ALL.map(cpu);
    let worker = of(Kind::Batched, |phase| phase.worker_us_per_request);
    let decode = of(Kind::Http, |phase| phase.decode_us);
    let encode = of(Kind::Http, |phase| phase.encode_us);
    let added = |load: &load::Sample| (load.latency_us - load.queue_wait_us - load.invoke_us) / 1000.0;
    let p99s: Vec<f64> = overhead.iter().map(|summary| summary.quantile(0.99, added)).collect();
    let p50s: Vec<f64> = overhead.iter().map(|summary| summary.quantile(0.5, added)).collect();
    let share = |us: f64| (us / batched * 1000.0).round() / 1000.0;
    json!({
        "ratio_to_echo": echo / batched,
        "ratio_to_echo_without_worker": echo / (batched - worker),
        "unbatched_ratio_to_echo": echo / unbatched,
        "requests_per_cpu_second": 1e6 / batched,
        "unbatched_requests_per_cpu_second": 1e6 / unbatched,
        "http_requests_per_cpu_second": 1e6 / http,
        "echo_requests_per_cpu_second": 1e6 / echo,
        "saturation_requests_per_second": saturation,
        "mean_batch_items": of(Kind::Batched, |phase| phase.fill),
        "overhead_p99_ms": median_of(p99s),
        "overhead_p50_ms": median_of(p50s),
        "half_load_errors": overhead.iter().map(|summary| summary.errors).sum::<u64>(),
        "stages": {
            "connection_and_routing": share(echo),
            "decode_and_validate": share(decode),
            "encode": share(encode),
            "rest_of_http": share(http - echo - decode - encode),
            "driver_and_engine": share(batched - http - worker),
            "stand_in_worker": share(worker),
        },
        "stages_us": {
            "connection_and_routing": echo,
            "decode_and_validate": decode,
            "encode": encode,
            "rest_of_http": http - echo - decode - encode,
            "driver_and_engine": batched - http - worker,
            "stand_in_worker": worker,
        },
        "settings": {
            "connections": args.connections, "threads": args.threads, "rounds": args.rounds, "seconds": args.seconds,
        },
    })
}

fn print_table(phases: &[Vec<Phase>], figures: &Value) {
    println!(
        "{:<12}{:>14}{:>18}{:>14}{:>10}   spread of CPU",
        "server", "us CPU/req", "req/CPU-second", "req/s", "fill"
    );
    for (kind, phases) in Kind::ALL.iter().zip(phases) {
        let cpu = median(phases, |phase| phase.cpu_us_per_request);
        let all: Vec<String> =
            phases.iter().map(|phase| format!("{:.1}", phase.cpu_us_per_request)).collect();
        println!(
            "{:<12}{cpu:>14.2}{:>18.0}{:>14.0}{:>10.1}   {}",
            kind.name(),
            1e6 / cpu,
            median(phases, |phase| phase.requests_per_second),
            median(phases, |phase| phase.fill),
            all.join(" ")
        );
    }
    println!("{}", serde_json::to_string_pretty(figures).unwrap());
}

fn median(phases: &[Phase], what: impl Fn(&Phase) -> f64) -> f64 {
    median_of(phases.iter().map(what).collect())
}

fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
