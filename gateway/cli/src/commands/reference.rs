//! `penstock reference`: the generated pages of `docs/`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use gateway_server::config::{reference_markdown, schema_json};
use gateway_server::telemetry::metrics_markdown;

/// Arguments of `reference`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    page: Page,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Page {
    /// Every key of the configuration: `docs/config.md`.
    Config,
    /// The configuration as a JSON schema, for editors and checks: `docs/config.schema.json`.
    ConfigSchema,
    /// Every metric: `docs/metrics.md`.
    Metrics,
    /// Every command with its options: `docs/commands.md`.
    Commands,
}

/// Prints what `docs/` holds.
pub(crate) fn run(arguments: &Arguments, command: clap::Command) -> ExitCode {
    let page = match arguments.page {
        Page::Config => reference_markdown(),
        Page::ConfigSchema => schema_json(),
        Page::Metrics => metrics_markdown(),
        Page::Commands => commands_markdown(command),
    };
    print!("{page}");
    ExitCode::SUCCESS
}

const HEAD: &str = "# Command reference

Generated from the commands themselves by `penstock reference commands`; do not edit. Each block is what `--help` prints.
";

/// The help of every command, in Markdown.
fn commands_markdown(command: clap::Command) -> String {
    let mut command = command.term_width(100).disable_help_subcommand(true);
    command.build();
    let mut page = HEAD.to_owned();
    write_command(&mut page, &mut command, "penstock");
    page
}

fn write_command(page: &mut String, command: &mut clap::Command, path: &str) {
    let help = command.clone().bin_name(path).render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    page.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", lines.join("\n")));
    for inner in command.get_subcommands_mut() {
        let path = format!("{path} {}", inner.get_name());
        write_command(page, inner, &path);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    #[test]
    fn the_committed_command_reference_is_not_stale() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let page = commands_markdown(Cli::command());
        assert!(committed == page, "write it again with `penstock reference commands > docs/commands.md`");
        assert!(page.contains("## penstock bulk run\n"));
    }
}
