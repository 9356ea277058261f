//! What an experiment has done so far, on disk: a session that ends in whatever way is gone on with by the next.
//!
//! One JSON object a line, each in one write: a kill in the middle leaves at most one half line at the end, which is cut off when the journal is
//! opened again; that run is then run again. Runs are whole lines, so none counts half.
//! Deliberately absent: fsync. A power cut may lose the last runs, and then they are run again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Point;
use crate::invocation::Run;
use crate::versions::Original;

/// Form of the journal; another one is refused.
const FORM: u32 = 1;

/// A journal that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("journal `{}`", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line that is no line of a journal.
    #[error("journal `{}`, line {line}: {reason}", path.display())]
    Line {
        /// Its path.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// It is of something else: results would be mixed.
    #[error("journal `{}` is of another {what} ({was}, not {is}): give another folder, or `--fresh` to begin anew", path.display())]
    Other {
        /// Its path.
        path: PathBuf,
        /// What differs.
        what: String,
        /// There.
        was: String,
        /// Here.
        is: String,
    },
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head { form: u32, experiment: String, models: BTreeMap<String, String> },
    Original(Original),
    GivenUp { model: String, point: Point, reason: String },
    Run(Box<Run>),
}

/// An open journal, and what is in it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    models: BTreeMap<String, String>,
    originals: Vec<Original>,
    given_up: Vec<(String, Point, String)>,
    runs: Vec<Run>,
}

impl Journal {
    /// Opens or begins a journal. `models` is what must not change from one session to the next, by model: more models may be added.
    ///
    /// # Errors
    /// As [`JournalError`].
    pub fn open(
        path: &Path,
        experiment: &str,
        models: &BTreeMap<String, String>,
    ) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_path_buf(), source };
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let text = std::fs::read(path).map_err(io)?;
        let mut journal = Self {
            path: path.to_path_buf(),
            file,
            models: BTreeMap::new(),
            originals: Vec::new(),
            given_up: Vec::new(),
            runs: Vec::new(),
        };
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        journal.file.set_len(whole as u64).map_err(io)?;
        journal.file.seek(SeekFrom::End(0)).map_err(io)?;
        for (number, line) in text[..whole].split(|&byte| byte == b'\n').enumerate() {
            if !line.is_empty() {
                journal.take_up(number + 1, line, experiment)?;
            }
        }
        journal.compare(models)?;
        if journal.models != *models {
            journal.models.extend(models.clone());
            let models = journal.models.clone();
            journal.write(&Line::Head { form: FORM, experiment: experiment.to_owned(), models })?;
        }
        Ok(journal)
    }

    fn take_up(&mut self, number: usize, line: &[u8], experiment: &str) -> Result<(), JournalError> {
        let line: Line = serde_json::from_slice(line).map_err(|error| JournalError::Line {
            path: self.path.clone(),
            line: number,
            reason: error.to_string(),
        })?;
        match line {
            Line::Head { form, experiment: found, models } => {
                self.same("form", &form.to_string(), &FORM.to_string())?;
                self.same("experiment", &found, experiment)?;
                self.models = models;
            }
            Line::Original(original) => self.originals.push(original),
            Line::GivenUp { model, point, reason } => self.given_up.push((model, point, reason)),
            Line::Run(run) => self.runs.push(*run),
        }
        Ok(())
    }

    fn compare(&self, models: &BTreeMap<String, String>) -> Result<(), JournalError> {
        for (name, is) in models {
            if let Some(was) = self.models.get(name) {
                self.same(&format!("model `{name}`"), was, is)?;
            }
        }
        Ok(())
    }

    fn same(&self, what: &str, was: &str, is: &str) -> Result<(), JournalError> {
        if was == is {
            return Ok(());
        }
        let [what, was, is] = [what, was, is].map(str::to_owned);
        Err(JournalError::Other { path: self.path.clone(), what, was, is })
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(line).map_err(|error| io(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(io)
    }

    /// Runs so far.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Points that could not be measured, by model, with the reason.
    #[must_use]
    pub fn given_up(&self) -> &[(String, Point, String)] {
        &self.given_up
    }

    /// What `$LATEST` of a function was when a session last found it as its owner left it.
    pub(crate) fn original(&self, function: &str) -> Option<&Original> {
        self.originals.iter().rev().find(|original| original.function == function)
    }

    pub(crate) fn add_run(&mut self, run: Run) -> Result<(), JournalError> {
        let line = Line::Run(Box::new(run));
        self.write(&line)?;
        if let Line::Run(run) = line {
            self.runs.push(*run);
        }
        Ok(())
    }

    pub(crate) fn add_original(&mut self, original: Original) -> Result<(), JournalError> {
        self.write(&Line::Original(original.clone()))?;
        self.originals.push(original);
        Ok(())
    }

    pub(crate) fn give_up(&mut self, model: &str, point: Point, reason: String) -> Result<(), JournalError> {
        self.write(&Line::GivenUp { model: model.to_owned(), point, reason: reason.clone() })?;
        self.given_up.push((model.to_owned(), point, reason));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunKind;

    fn models(function: &str) -> BTreeMap<String, String> {
        [("m".to_owned(), function.to_owned())].into()
    }

    fn run(id: u64) -> Run {
        Run {
            id,
            model: "m".to_owned(),
            point: Point { memory_mib: 512, process_count: 1, items: 1, concurrency: 1 },
            kind: RunKind::Warm,
            simulated: false,
            started_ms: 1,
            total_us: 2,
            spent_ms: 3,
            invocations: Vec::new(),
        }
    }

    #[test]
    fn what_was_written_is_there_again_and_a_half_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, "e", &models("f")).unwrap();
        journal.add_run(run(0)).unwrap();
        journal.add_original(Original { function: "f".to_owned(), memory_mib: 1024 }).unwrap();
        drop(journal);
        let mut text = std::fs::read(&path).unwrap();
        let whole = text.len();
        text.extend_from_slice(b"{\"run\":{\"id\":1,\"mod");
        std::fs::write(&path, &text).unwrap();
        let mut journal = Journal::open(&path, "e", &models("f")).unwrap();
        assert_eq!(journal.runs(), [run(0)]);
        assert_eq!(journal.original("f").unwrap().memory_mib, 1024);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole as u64, "the half line is cut off");
        journal.add_run(run(1)).unwrap();
        assert_eq!(Journal::open(&path, "e", &models("f")).unwrap().runs().len(), 2);
    }

    #[test]
    fn a_journal_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        drop(Journal::open(&path, "e", &models("f")).unwrap());
        let other =
            |experiment: &str, models| Journal::open(&path, experiment, &models).unwrap_err().to_string();
        assert!(other("x", models("f")).contains("another experiment"));
        assert!(other("e", models("g")).contains("another model `m`"));
        let mut more = models("f");
        more.insert("n".to_owned(), "h".to_owned());
        drop(Journal::open(&path, "e", &more).unwrap());
        assert!(Journal::open(&path, "e", &models("f")).is_ok(), "a model may be left out again");
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(other("e", models("f")).contains("line 1"));
    }
}
