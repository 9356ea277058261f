//! Builds our own binaries with the profile that people run, and says where they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Release binaries of this workspace.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    /// The command that people run.
    pub(crate) penstock: PathBuf,
    /// The Lambda worker.
    pub(crate) bootstrap: PathBuf,
}

/// Builds `penstock` and `bootstrap` in release mode; cargo itself skips what is up to date. `PENSTOCK_BINARIES` names a folder
/// that holds both already, for example an unpacked release.
///
/// # Errors
/// When the build fails.
pub(crate) fn binaries(workspace: &Path) -> Result<Binaries> {
    if let Some(folder) = std::env::var_os("PENSTOCK_BINARIES").map(PathBuf::from) {
        return Ok(Binaries { penstock: folder.join("penstock"), bootstrap: folder.join("bootstrap") });
    }
    eprintln!("build: penstock and bootstrap, release (the first time takes some minutes)");
    cargo(
        workspace,
        &["build", "--release", "--package", "gateway-cli", "--package", "workers-runtime", "--bins"],
    )?;
    let folder = target_folder(workspace).join("release");
    Ok(Binaries { penstock: folder.join("penstock"), bootstrap: folder.join("bootstrap") })
}

/// Builds the release binaries of a package and gives the path of one.
///
/// # Errors
/// When the build fails.
pub(crate) fn built(workspace: &Path, package: &str, binary: &str) -> Result<PathBuf> {
    cargo(workspace, &["build", "--release", "--package", package, "--bins"])?;
    Ok(target_folder(workspace).join("release").join(binary))
}

/// Runs cargo in the workspace, its output going to the terminal.
///
/// # Errors
/// When cargo cannot be started or ends with an error.
pub(crate) fn cargo(workspace: &Path, arguments: &[&str]) -> Result<()> {
    run(Command::new(env!("CARGO")).args(arguments).current_dir(workspace))
}

/// Runs a command to its end, its output going to the terminal.
///
/// # Errors
/// When it cannot be started or ends with an error; the message holds the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |folder| workspace.join(folder))
}
