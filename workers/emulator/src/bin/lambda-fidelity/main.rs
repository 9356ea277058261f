//! How close the emulator's CPU, scaling and prices are to published measurements: the same steps are run through the real
//! emulator and a real bootstrap, and compared row by row. Everything is measured; nothing is computed from a formula that
//! the emulator itself uses.
//!
//! `lambda-fidelity --profiles DIR [--json FILE] [--probe FILE] [--quick]`. Only here times are rescaled: with a `cpu_scale` of s the
//! quota period is 20 ms / s, and measured times are multiplied by s, so that six vCPUs fit on two cores.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool that prints a table")]

mod client;
mod scaling;
mod table;
mod throttle;

use std::path::PathBuf;
use workers_emulator::{Emulator, EmulatorConfig};

/// Options of the command line.
struct Options {
    profiles: PathBuf,
    json: Option<PathBuf>,
    probe: PathBuf,
    /// Share of the published amount of work that is run; less is faster and noisier.
    effort: f64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let options = parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rows = throttle::measure(&runtime, &options)?;
    rows.extend(scaling::measure(&runtime, &options)?);
    let max_error = rows.iter().filter(|row| row.counts).map(|row| row.error).fold(0.0, f64::max);
    table::print(&rows, max_error);
    if let Some(path) = &options.json {
        let body = serde_json::json!({
            "max_error": max_error,
            "rows": rows,
            "time_scale": "times are multiplied by cpu_scale, the quota period is divided by it",
        });
        std::fs::write(path, serde_json::to_string_pretty(&body)?)?;
    }
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let (mut profiles, mut json, mut probe, mut effort) = (None, None, None, 0.4);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--profiles" => profiles = Some(value()?),
            "--json" => json = Some(value()?),
            "--probe" => probe = Some(value()?),
            "--quick" => effort = 0.1,
            other => return Err(format!("unknown option `{other}`").into()),
        }
    }
    let beside = || std::env::current_exe().map(|path| path.with_file_name("lambda-probe"));
    Ok(Options {
        profiles: profiles.ok_or("--profiles DIR is needed: the folder with the published measurements")?,
        json,
        probe: probe.map_or_else(beside, Ok)?,
        effort,
    })
}

/// An emulator with the probe at the given memory sizes, with times stretched by 1 / `cpu_scale`.
struct Stage {
    emulator: Option<Emulator>,
    address: std::net::SocketAddr,
    _package: tempfile::TempDir,
}

impl Stage {
    fn open(
        runtime: &tokio::runtime::Runtime,
        options: &Options,
        cpu_scale: f64,
        memory_mib: &[u32],
    ) -> Result<Self, Failure> {
        let package = tempfile::tempdir()?;
        std::fs::copy(&options.probe, package.path().join("bootstrap"))?;
        let text = format!(
            "listen = '127.0.0.1:0'\n[metering]\ncpu_scale = {cpu_scale}\nquota_period_us = {:.0}\n\
             [[function]]\nname = 'probe'\npackage_dir = '{}'\nmemory_mib = {memory_mib:?}\ntimeout_seconds = 900\n",
            20_000.0 / cpu_scale,
            package.path().display(),
        );
        let emulator = runtime.block_on(Emulator::start(EmulatorConfig::from_toml_str(&text)?))?;
        let address = emulator.address();
        Ok(Self { emulator: Some(emulator), address, _package: package })
    }

    fn close(mut self, runtime: &tokio::runtime::Runtime) {
        if let Some(emulator) = self.emulator.take() {
            runtime.block_on(emulator.shutdown());
        }
    }
}
