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
    let folder = match std::env::var_os("PENSTOCK_BINARIES") {
        Some(folder) => PathBuf::from(folder),
        None => release_folder(workspace)?,
    };
    Ok(Binaries { penstock: folder.join("penstock"), bootstrap: folder.join("bootstrap") })
}

/// Builds all release binaries and gives their folder. Always all at once: cargo chooses features of dependencies by what is built
/// together, and another choice would compile them again.
///
/// # Errors
/// When the build fails.
pub(crate) fn release_folder(workspace: &Path) -> Result<PathBuf> {
    eprintln!("build: release binaries (the first time takes some minutes)");
    cargo(workspace, &["build", "--release", "--locked", "--workspace", "--exclude", "xtask", "--bins"])?;
    Ok(target_folder(workspace).join("release"))
}

/// Runs cargo in the workspace, its output going to the terminal.
///
/// # Errors
/// When cargo cannot be started or ends with an error.
pub(crate) fn cargo(workspace: &Path, arguments: &[&str]) -> Result<()> {
    run(cargo_command(workspace).args(arguments))
}

/// Cargo, as if it had been called from a shell. What `cargo xtask` sets for this program would count as a changed environment for
/// build scripts that look at it, and each change between the two ways of calling would compile them and all above them again.
pub(crate) fn cargo_command(workspace: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
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
