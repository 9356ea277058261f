//! Finished runs, kept as lines of JSON: a study that was stopped goes on where it was.
//!
//! The first line names the study by its fingerprint: runs of another one are not taken for this one's. Each run is one write, so that a
//! stop in the middle leaves at most one half line at the end, which is run again.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simulator::study::{Cell, CellRecord, Problem};

use super::SimulateError;

/// Runs of a study, on a file if one was named.
#[derive(Debug, Default)]
pub(super) struct Resume {
    records: Vec<CellRecord>,
    keys: BTreeSet<String>,
    file: Option<(PathBuf, File)>,
}

impl Resume {
    /// Opens a file and reads what is there; without a path runs are kept in memory only.
    pub(super) fn open(path: Option<&Path>, fingerprint: &str) -> Result<Self, SimulateError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let mut resume = Self::default();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(problem(path, None, &error).into()),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        resume.take(path, &text[..whole], fingerprint)?;
        let failed = |error: std::io::Error| SimulateError::output(path, &error);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(whole as u64).map_err(failed)?;
        resume.file = Some((path.to_path_buf(), file));
        if whole == 0 {
            resume.append(&json!({ "study": fingerprint }).to_string())?;
        }
        Ok(resume)
    }

    fn take(&mut self, path: &Path, text: &str, fingerprint: &str) -> Result<(), Problem> {
        for (at, line) in text.lines().enumerate() {
            let bad = |reason: &dyn std::fmt::Display| problem(path, Some(at + 1), reason);
            if at == 0 {
                let head: Value = serde_json::from_str(line).map_err(|error| bad(&error))?;
                if head["study"] != fingerprint {
                    return Err(bad(
                        &"holds runs of another study, or of other files; name another one, or remove it",
                    ));
                }
                continue;
            }
            let record: CellRecord = serde_json::from_str(line).map_err(|error| bad(&error))?;
            self.keep(record);
        }
        Ok(())
    }

    fn keep(&mut self, record: CellRecord) {
        if self.keys.insert(record.key.clone()) {
            self.records.push(record);
        }
    }

    /// Whether this run is there.
    pub(super) fn has(&self, cell: &Cell) -> bool {
        self.keys.contains(&cell.key())
    }

    /// Adds a run.
    pub(super) fn add(&mut self, record: CellRecord) -> Result<(), SimulateError> {
        if let Some((path, _)) = &self.file {
            let line = serde_json::to_string(&record).map_err(|error| SimulateError::output(path, &error))?;
            self.append(&line)?;
        }
        self.keep(record);
        Ok(())
    }

    fn append(&mut self, line: &str) -> Result<(), SimulateError> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        file.write_all(format!("{line}\n").as_bytes()).map_err(|error| SimulateError::output(path, &error))
    }

    /// All runs.
    pub(super) fn records(&self) -> &[CellRecord] {
        &self.records
    }
}

fn problem(path: &Path, line: Option<usize>, reason: &dyn std::fmt::Display) -> Problem {
    Problem { file: path.display().to_string(), line, reason: reason.to_string() }
}
