//! What the other commands need from outside Rust: a Python environment, ONNX Runtime's library, models.
//!
//! Everything lives below one folder ([`Setup::cache`]), each step leaves a stamp and does nothing when its
//! stamp fits, and says on standard error what it does. No system package is installed and nothing outside
//! that folder is written. Deliberately absent: building our own binaries, and starting anything.

mod models;
mod onnxruntime;
mod process;
mod python;
mod venv;

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The prepared parts and where they are; every part is made on first use.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    workspace: PathBuf,
    cache: PathBuf,
}

impl Setup {
    /// Uses the folder named by `PENSTOCK_CACHE`, by default `target/penstock` in the workspace.
    ///
    /// # Errors
    /// If the workspace or the current directory cannot be found.
    pub(crate) fn locate() -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask folder has no parent")?
            .to_path_buf();
        let cache = match env::var_os("PENSTOCK_CACHE") {
            Some(folder) if !folder.is_empty() => env::current_dir()?.join(folder),
            Some(_) | None => workspace.join("target/penstock"),
        };
        Ok(Self { workspace, cache })
    }

    /// The workspace's root folder.
    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// The folder that holds everything that is fetched or made.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Makes the Python environment with the model builder's packages and the clients; returns its
    /// interpreter. Other programs of it (`aws`) lie beside the interpreter.
    ///
    /// # Errors
    /// If no Python of at least 3.11 is found, or a package cannot be fetched.
    pub(crate) fn venv(&self) -> Result<PathBuf> {
        let _lock = self.lock()?;
        venv::ensure(self)
    }

    /// Returns the path of ONNX Runtime's shared library, as the worker loads it.
    ///
    /// # Errors
    /// As [`Setup::venv`], or if the package holds no such library for this platform.
    pub(crate) fn onnxruntime_library(&self) -> Result<PathBuf> {
        let _lock = self.lock()?;
        onnxruntime::ensure(self)
    }

    /// Builds the named models, all of them if none is named; returns their folders in that order.
    ///
    /// # Errors
    /// As [`Setup::venv`], or if a name is unknown or a build fails.
    pub(crate) fn models(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let _lock = self.lock()?;
        models::ensure(self, names)
    }

    /// The folder of PostgreSQL's programs in the environment of [`Setup::venv`]; `None` where the system has its own, which the tests find,
    /// or where the package does not exist for this Python.
    pub(crate) fn postgres(&self) -> Option<PathBuf> {
        if Path::new("/usr/lib/postgresql").is_dir() {
            return None;
        }
        let lib = fs::read_dir(self.cache.join("venv/lib")).ok()?;
        lib.filter_map(|entry| Some(entry.ok()?.path().join("site-packages/pgserver/pginstall/bin")))
            .find(|folder| folder.join("initdb").is_file())
    }

    /// Where the folder of a model is, built or not.
    pub(crate) fn model_folder(&self, name: &str) -> PathBuf {
        self.cache.join("models").join(name)
    }

    /// Keeps other processes from preparing the same folder; the lock ends with the returned file.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.cache)
            .with_context(|| format!("cannot create `{}`", self.cache.display()))?;
        let path = self.cache.join("setup.lock");
        let file = File::create(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        if file.try_lock().is_err() {
            say("waiting for another setup to end");
            file.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
        }
        Ok(file)
    }
}

/// Prints one line of progress.
fn say(message: &str) {
    eprintln!("setup: {message}");
}
