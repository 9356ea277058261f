//! Runs a program to its end and turns a failure into an error that shows what it printed.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// How many of the last lines of a failed program's output its error repeats.
const SHOWN_LINES: usize = 20;

/// Runs `command` quietly; its output is shown only if it fails.
pub(super) fn run_quietly(command: &mut Command) -> Result<()> {
    output_of(command).map(drop)
}

/// Runs `command` and returns its standard output, trimmed.
pub(super) fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", program(command)))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}):\n{}",
            program(command),
            output.status,
            last_lines(&format!("{printed}{errors}"))
        );
    }
    Ok(printed.trim().to_owned())
}

/// Runs `command` with its output going straight to ours.
pub(super) fn run_visibly(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", program(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", program(command));
    }
    Ok(())
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_error_of_a_failed_program_shows_what_it_printed() {
        let error = output_of(&mut shell("echo why >&2; exit 3")).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
    }

    #[test]
    fn only_the_end_of_a_long_output_is_shown() {
        let error = run_quietly(&mut shell("seq 1 500; false")).unwrap_err().to_string();
        assert!(error.ends_with("500") && !error.contains("\n480\n"), "{error}");
    }
}
