//! `lambda-profile`: sweeps a deployed function and writes a JSON object per invocation. See the crate's README.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use workers_profiler::{Connection, Inputs, Lambda, Progress, SweepSettings, Texts, sweep};

/// Sweeps a deployed function over memory × batch size × process count.
#[derive(Debug, Parser)]
#[command(name = "lambda-profile", version)]
struct Arguments {
    /// Function name or ARN; each memory size needs an alias `mem-<MiB>`.
    #[arg(long, required_unless_present = "write_texts")]
    function: Option<String>,
    /// The model's `model.toml`.
    #[arg(long, value_name = "FILE", required_unless_present = "write_texts")]
    manifest: Option<PathBuf>,
    /// Memory sizes, MiB.
    #[arg(long, value_delimiter = ',', default_value = "512,1024,1769,3008")]
    memory: Vec<u32>,
    /// Model processes.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    processes: Vec<u32>,
    /// Items per batch.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    batches: Vec<u32>,
    /// Warm invocations per point at most.
    #[arg(long, default_value_t = 20)]
    invocations: u32,
    /// A point ends early when the 95 % interval of its mean is narrower than this share of the mean; 0: never.
    #[arg(long, default_value_t = 0.02)]
    stop_width: f64,
    /// Milliseconds before each invocation, so that it finds the CPU quota of an idle environment; 0: back to back.
    #[arg(long, default_value_t = 30)]
    pause_ms: u64,
    /// Tokens of each text.
    #[arg(long, default_value_t = 16)]
    tokens: u32,
    /// Seed of texts and order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Another endpoint than AWS's, such as http://127.0.0.1:9001 for the local Lambda.
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// AWS region.
    #[arg(long)]
    region: Option<String>,
    /// Sign as `test`/`test`, for the local Lambda.
    #[arg(long)]
    test_credentials: bool,
    /// Where the records go; standard output if absent.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Instead of a sweep: write so many of the texts that a sweep sends, one JSON object with `text` and `label` 0 a line.
    #[arg(long, value_name = "COUNT")]
    write_texts: Option<usize>,
}

fn main() -> ExitCode {
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(Arguments::parse())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut output: Box<dyn Write> = match &arguments.output {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
        )),
        None => Box::new(std::io::stdout()),
    };
    if let Some(count) = arguments.write_texts {
        for text in Texts::new(arguments.tokens, arguments.seed).take(count) {
            writeln!(output, "{}", serde_json::json!({ "text": text, "label": 0 }))?;
        }
        return Ok(output.flush()?);
    }
    let manifest = arguments.manifest.context("--manifest is needed")?;
    let mut inputs = Inputs::from_manifest(&manifest, arguments.tokens, arguments.seed)?;
    let settings = SweepSettings {
        function: arguments.function.context("--function is needed")?,
        memory_mib: arguments.memory,
        process_counts: arguments.processes,
        items: arguments.batches,
        invocations: arguments.invocations,
        stop_width: arguments.stop_width,
        pause: Duration::from_millis(arguments.pause_ms),
        seed: arguments.seed,
    };
    let lambda = Lambda::new(&Connection {
        region: arguments.region,
        endpoint_url: arguments.endpoint_url,
        has_test_credentials: arguments.test_credentials,
    })
    .await;
    let start = Instant::now();
    let write = |record: &workers_profiler::Record| {
        serde_json::to_writer(&mut output, record)?;
        output.write_all(b"\n")?;
        output.flush()
    };
    let summary = sweep(&lambda, &mut inputs, &settings, write, |progress| tell(progress, start)).await?;
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    for given_up in &summary.given_up {
        eprintln!("given up: {:?}: {}", given_up.point, given_up.reason);
    }
    eprintln!(
        "{} warm invocations, {} cold starts, {} points given up, {:.0} s",
        summary.measured,
        summary.cold,
        summary.given_up.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// On a terminal one line that changes, else a line a point.
fn tell(progress: &Progress, start: Instant) {
    let (done, all) = progress.done;
    let point = progress.point;
    let line = format!(
        "{done}/{all}  {} MiB × {} processes, {} items: {:.2} ms ± {:.1} % from {}  ({:.0} s)",
        point.memory_mib,
        point.process_count,
        point.items,
        progress.mean_handler_ms,
        progress.width * 50.0,
        progress.invocations,
        start.elapsed().as_secs_f64()
    );
    if std::io::stderr().is_terminal() {
        eprint!("\r{line:<100}");
    } else {
        eprintln!("{line}");
    }
}
