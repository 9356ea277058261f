//! The subcommands and what they share: where the configuration comes from, and exit codes.

pub(crate) mod batch_api;
pub(crate) mod check_config;
pub(crate) mod doctor;
pub(crate) mod emulate;
pub(crate) mod print_config;
pub(crate) mod provision;
pub(crate) mod reference;
pub(crate) mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gateway_server::config::Source;

/// `EX_CONFIG` of `sysexits.h`: the configuration is not valid.
pub(crate) const EXIT_CONFIG: u8 = 78;

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    config: PathBuf,
    /// Overrides a key, as `section.key=value`; may be repeated. Stronger than the environment and the file.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

impl ConfigArguments {
    /// File, environment and overrides.
    pub(crate) fn source(self) -> Source {
        Source::with_environment(Some(self.config), self.overrides)
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Tells an error on standard error.
pub(crate) fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("penstock: {error}");
    ExitCode::from(code)
}
