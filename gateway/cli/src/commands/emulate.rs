//! `penstock emulate`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use workers_emulator::EmulatorConfig;

use super::{EXIT_CONFIG, fail};

/// Arguments of `emulate`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The emulator's configuration; without it: no functions, defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the API; must be on loopback. Overrides the configuration.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Log detail: `error`, `warn`, `info`, `debug` or `trace`, also by target.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
}

/// Runs the local Lambda until SIGTERM or SIGINT.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let mut config = match &arguments.config {
        Some(path) => match EmulatorConfig::from_toml_file(path) {
            Ok(config) => config,
            Err(error) => return fail(&error, EXIT_CONFIG),
        },
        None => EmulatorConfig::default(),
    };
    if let Some(address) = arguments.listen {
        config.listen = address;
    }
    let filter = match tracing_subscriber::EnvFilter::try_new(&arguments.log) {
        Ok(filter) => filter,
        Err(error) => return fail(&error, EXIT_CONFIG),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let result = runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
                (Err(error), _) | (_, Err(error)) => return Err(error.to_string()),
            };
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        workers_emulator::run(config, stop).await.map_err(|error| error.to_string())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}
