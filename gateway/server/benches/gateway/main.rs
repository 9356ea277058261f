//! What the gateway costs per request, beside a bare echo, and how much latency it adds.
//!
//! Hypothesis: a request through HTTP, validation, engine and scatter costs at most 1/0.6 of what the same framework needs to
//! echo the same bytes. Baseline: axum's own `serve` with a handler that gives the body back. Each server is a process of its
//! own (this program again, see [`servers`]), so that its CPU time can be read; rounds alternate between the servers and the
//! medians over rounds are reported. The load generator ([`load`]) is the same for all, and can be run against any URL:
//! `--load HOST:PORT --model M --input NAME --connections C --seconds S [--rate R]`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a measurement, not a library"
)]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

mod args;
mod instant_worker;
mod load;
mod process;
mod rounds;
mod servers;

use args::{Args, Mode};

/// What the `penstock` binary uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args = Args::from_command_line().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(64);
    });
    match &args.mode {
        Mode::Serve(kind) => servers::run(*kind, args.threads),
        Mode::Load(target) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let target = target.clone();
            let seconds = std::time::Duration::from_secs_f64(args.seconds);
            let summary = runtime.block_on(load::run(&target, args.connections, args.rate, seconds));
            println!("{}", summary.to_json());
        }
        Mode::Measure => rounds::measure(&args),
    }
}
