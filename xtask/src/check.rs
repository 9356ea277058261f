//! The house rules that need no running part: format, lints, crate arrows.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{arrows, build, specification};

/// Runs them all, cheapest first.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn run(workspace: &Path) -> Result<()> {
    eprintln!("check: crate arrows");
    arrows::check(workspace)?;
    eprintln!("check: specification");
    specification::check(workspace)?;
    eprintln!("check: format");
    build::cargo(workspace, &["fmt", "--all", "--check"]).context("run `cargo fmt --all`")?;
    eprintln!("check: lints");
    build::cargo(
        workspace,
        &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"],
    )
}
