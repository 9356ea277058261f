//! `penstock check-config`

use std::process::ExitCode;

use clap::Args;
use gateway_server::config::{config_hash, load};

use super::{ConfigArguments, EXIT_CONFIG, fail};

/// Arguments of `check-config`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
}

/// Checks everything that can be checked without binding a port or calling AWS.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    match load(&arguments.config.source()) {
        Ok(loaded) => {
            let models: Vec<&str> = loaded.settings.models.iter().map(|model| model.name.as_str()).collect();
            println!("valid; hash {}; models: {}", config_hash(&loaded.config), models.join(", "));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, EXIT_CONFIG),
    }
}
