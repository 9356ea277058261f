//! Records for other tools: one row an invocation, the same columns as CSV and as Parquet.
//!
//! Deliberately absent: reading them back; the journal is what a session goes on from.

mod parquet_file;
mod table;

use std::path::{Path, PathBuf};

use crate::invocation::Run;

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {reason}", path.display())]
pub struct ExportError {
    path: PathBuf,
    reason: String,
}

impl ExportError {
    fn new(path: &Path, reason: &impl ToString) -> Self {
        Self { path: path.to_path_buf(), reason: reason.to_string() }
    }
}

/// Writes the invocations of `runs` as CSV.
///
/// # Errors
/// [`ExportError`].
pub fn write_csv<'a>(path: &Path, runs: impl Iterator<Item = &'a Run>) -> Result<(), ExportError> {
    table::write(path, runs).map_err(|error| ExportError::new(path, &error))
}

/// Writes the invocations of `runs` as Parquet, compressed by Zstandard.
///
/// # Errors
/// [`ExportError`].
pub fn write_parquet<'a>(path: &Path, runs: impl Iterator<Item = &'a Run>) -> Result<(), ExportError> {
    parquet_file::write(path, runs).map_err(|error| ExportError::new(path, &error))
}
