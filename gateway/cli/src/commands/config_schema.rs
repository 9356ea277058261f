//! `penstock config-schema`

use std::process::ExitCode;

use clap::Args;
use gateway_server::config::{reference_markdown, schema_json};

/// Arguments of `config-schema`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write the reference page in Markdown instead of the JSON schema.
    #[arg(long)]
    markdown: bool,
}

/// Prints what `docs/` holds.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    print!("{}", if arguments.markdown { reference_markdown() } else { schema_json() });
    ExitCode::SUCCESS
}
