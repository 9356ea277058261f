//! The console in a real browser: `/console` of a gateway under a load that changes, looked at by headless Chromium.
//!
//! `dashboards/verify/console.py` starts gateway, local Lambda and load; `xtask/clients/console/check.mjs` drives the browser and judges. This finds
//! what both need. Deliberately absent: a part in `cargo xtask test`, which needs no browser.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::build;
use crate::setup::Setup;

/// Names of the browser, by distribution.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of load: a third at 6 requests/s, a third at 80, a third at 6 again.
    #[arg(long, default_value_t = 300.0)]
    seconds: f64,
    /// Folder for screenshots: light and dark, desk and phone, and the dialog.
    #[arg(long, value_name = "FOLDER")]
    screenshots: Option<PathBuf>,
    /// Keep serving after the check, to be looked at by hand.
    #[arg(long)]
    keep: bool,
}

/// Runs it.
///
/// # Errors
/// When Chromium, node or npm are missing, something cannot be started, or the check finds anything.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let chromium = find(&CHROMIUM).context(
        "no Chromium on the PATH; install it (`apt-get install chromium` on Debian, `dnf install chromium` on Fedora) or Google Chrome",
    )?;
    find(&["npm"]).context("no npm on the PATH; install it with node 20 or newer (`apt-get install npm`)")?;
    let check = install_check(setup)?;
    setup.models(&["imdb-sentiment", "identity"])?;
    let binaries = build::binaries(setup.workspace())?;
    let mut command = std::process::Command::new(setup.venv()?);
    command.current_dir(setup.workspace()).args(["-m", "dashboards.verify.console"]);
    command.arg("--penstock").arg(&binaries.penstock).arg("--bootstrap").arg(&binaries.bootstrap);
    command.arg("--onnxruntime").arg(setup.onnxruntime_library()?);
    command.arg("--models").arg(setup.cache().join("models"));
    command.arg("--folder").arg(setup.cache().join("runs/console"));
    command.arg("--check").arg(check).arg("--chromium").arg(chromium);
    command.arg("--seconds").arg(arguments.seconds.to_string());
    if let Some(folder) = &arguments.screenshots {
        command.arg("--screenshots").arg(std::path::absolute(folder)?);
    }
    if arguments.keep {
        command.arg("--keep");
    }
    super::run_with_json(&mut command, json)
}

/// Copies the check into the cache folder, with the packages that it drives the browser with; they are fetched once.
fn install_check(setup: &Setup) -> Result<PathBuf> {
    let (from, to) = (setup.workspace().join("xtask/clients/console"), setup.cache().join("console"));
    fs::create_dir_all(&to)?;
    let lock = "package-lock.json";
    let is_same = fs::read(from.join(lock))? == fs::read(to.join(lock)).unwrap_or_default();
    for name in ["package.json", lock, "check.mjs"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| format!("cannot copy `{name}`"))?;
    }
    if !is_same || !to.join("node_modules").exists() {
        let mut npm = std::process::Command::new("npm");
        build::run(npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(&to))?;
    }
    Ok(to.join("check.mjs"))
}

/// The first of these programs on the PATH.
fn find(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let mut candidates = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|path| path.is_file())
}
