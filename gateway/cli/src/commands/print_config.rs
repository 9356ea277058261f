//! `penstock print-config`

use std::process::ExitCode;

use clap::Args;
use gateway_server::config::{load, print_effective};

use super::{ConfigArguments, EXIT_CONFIG, fail};

/// Arguments of `print-config`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Show defaults as well.
    #[arg(long)]
    effective: bool,
}

/// Prints one dotted key a line, as TOML, with the origin of its value.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    match load(&arguments.config.source()) {
        Ok(loaded) => {
            print!("{}", print_effective(&loaded, arguments.effective));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, EXIT_CONFIG),
    }
}
