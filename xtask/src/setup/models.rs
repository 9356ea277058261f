//! Model folders, made by the Python builder in `workers/models`, which itself skips what is up to date.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::process::{output_of, run_visibly};
use super::{Setup, venv};

/// Builds the named models (the usual ones if none is named; the large ones are built by name only) and returns their folders in that order.
pub(super) fn ensure(setup: &Setup, names: &[&str]) -> Result<Vec<PathBuf>> {
    let python = venv::ensure(setup)?;
    let script = setup.workspace().join("workers/models/build.py");
    let list = |which| output_of(Command::new(&python).arg(&script).arg(which));
    let (known, usual) = (list("--list")?, list("--list-usual")?);
    let (known, usual): (Vec<&str>, Vec<&str>) = (known.lines().collect(), usual.lines().collect());
    let wanted = if names.is_empty() { usual.as_slice() } else { names };
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("unknown model `{unknown}`; known are {}", known.join(", "));
    }
    let mut build = Command::new(&python);
    build.arg(&script).arg("--out").arg(setup.cache().join("models"));
    build.arg("--cache").arg(setup.cache().join("wheels")).args(wanted);
    run_visibly(&mut build).context("cannot build the models")?;
    Ok(wanted.iter().map(|name| setup.model_folder(name)).collect())
}
