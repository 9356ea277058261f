//! `penstock serve`

use std::process::ExitCode;

use clap::Args;
use gateway_server::lifecycle::{ServeError, Sockets, serve_with};

use super::batch_api::extend;
use super::{ConfigArguments, EXIT_CONFIG, fail};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Threads that serve; default: one per CPU.
    #[arg(long, value_name = "COUNT")]
    threads: Option<std::num::NonZeroUsize>,
}

/// Runs the gateway until it is told to stop.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    // Before there are threads: it takes variables out of the environment.
    let sockets = match Sockets::from_environment() {
        Ok(sockets) => sockets,
        Err(error) => return fail(&error, 1),
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.threads {
        builder.worker_threads(threads.get());
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let result = runtime.block_on(serve_with(arguments.config.source(), sockets, extend));
    // What is still in flight after the drain limit is cut off; nothing here needs to be waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ ServeError::Config(_)) => fail(&error, EXIT_CONFIG),
        Err(error @ ServeError::Interrupted) => fail(&error, 130),
        Err(
            error @ (ServeError::Start(_)
            | ServeError::HandOver(_)
            | ServeError::NotReady(_)
            | ServeError::Signals(_)
            | ServeError::Log(_)),
        ) => fail(&error, 1),
    }
}
