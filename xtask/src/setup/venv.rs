//! The Python environment: the packages of the model builder, the real clients and the dashboards' builder, all pinned.
//!
//! The stamp holds the interpreter's version and all requirement files, so a changed pin installs what
//! differs and another interpreter starts afresh. Packages come as wheels and without their dependencies:
//! the requirement files name every package, so nothing is resolved, compiled or installed by surprise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::process::run_quietly;
use super::python::{self, Python};
use super::{Setup, say};

const REQUIREMENTS: [&str; 3] =
    ["workers/models/requirements.txt", "xtask/requirements-clients.txt", "dashboards/requirements.txt"];
const STAMP: &str = "penstock-stamp.txt";

/// Makes or completes the environment and returns its interpreter.
pub(super) fn ensure(setup: &Setup) -> Result<PathBuf> {
    let folder = setup.cache().join("venv");
    let interpreter = folder.join("bin/python");
    let stamp = folder.join(STAMP);
    let found = python::find()?;
    let wanted = stamp_text(setup.workspace(), &found)?;
    let present = fs::read_to_string(&stamp).unwrap_or_default();
    if present == wanted && interpreter.exists() {
        return Ok(interpreter);
    }
    say(&format!("making a Python {} environment in {}", found.version, folder.display()));
    let same_python = present.lines().next() == wanted.lines().next() && interpreter.exists();
    if same_python {
        fs::remove_file(&stamp).with_context(|| format!("cannot remove `{}`", stamp.display()))?;
    } else {
        create(&found, &folder)?;
    }
    install(setup.workspace(), &found, &folder)?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    Ok(interpreter)
}

fn stamp_text(workspace: &Path, python: &Python) -> Result<String> {
    let mut text = format!("python {}\n", python.version);
    for name in REQUIREMENTS {
        let path = workspace.join(name);
        text += &fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    }
    Ok(text)
}

/// Makes an environment, with pip in it where Python can put it there; some systems ship Python without the
/// part that can.
fn create(python: &Python, folder: &Path) -> Result<()> {
    let venv = |options: &[&str]| {
        let mut command = Command::new(&python.program);
        run_quietly(command.args(["-m", "venv", "--clear"]).args(options).arg(folder))
    };
    venv(&[]).or_else(|_| venv(&["--without-pip"])).context("cannot make a Python environment")
}

/// pip of the environment, or the one outside that is told to work on the environment.
fn pip(python: &Python, folder: &Path) -> Result<Command> {
    let inside = folder.join("bin/python");
    for (program, target) in [(&inside, None), (&python.program, Some(&inside))] {
        let mut command = Command::new(program);
        command.args(["-m", "pip", "--disable-pip-version-check"]);
        if let Some(target) = target {
            command.arg("--python").arg(target);
        }
        if run_quietly(Command::new(program).args(["-m", "pip", "--version"])).is_ok() {
            return Ok(command);
        }
    }
    bail!("`{}` has neither `pip` nor `ensurepip`", python.program.display())
}

fn install(workspace: &Path, python: &Python, folder: &Path) -> Result<()> {
    say("installing pinned packages (about 0.6 GB on disk, half a minute on a good line)");
    let mut command = pip(python, folder)?;
    command.args(["install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]);
    for name in REQUIREMENTS {
        command.arg("--requirement").arg(workspace.join(name));
    }
    run_quietly(&mut command).context("cannot install the Python packages")
}
