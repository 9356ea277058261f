//! A session of an experiment: it goes on where the last one ended, and removes what it made, whatever happens.
//!
//! *Order*: one model after the other, so that few environments live at a time. Within a model in rounds of a few runs a point, each round shuffled by the
//! seed: a machine that is busy for a while neither looks like a slope over memory nor spoils single points. In the first round process counts
//! ascend, since the memory peak belongs to an environment's whole life.
//! *A visit*: the cold runs that are due, each in a version of its own; then warm-ups with the point's own batch and concurrency, then warm runs. A
//! point ends when the interval of its warm mean is narrow enough or its number is reached.
//! *Failures*: a point that fails twice is given up, and after two such points in a row the rest of the same memory and process count is.
//! Deliberately absent: what the numbers mean, and points that this machine cannot run.

mod budget;
mod runner;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::estimate::{Prediction, Prices};
use crate::experiment::{Experiment, Model, Point};
use crate::journal::{Journal, JournalError};
use crate::versions::{VersionError, Versions};
use crate::{InputError, Inputs, Lambda};

pub use budget::BudgetKind;
pub use runner::run;

/// Warm runs of a visit.
pub(crate) const PER_VISIT: usize = crate::stopping::FEWEST;

/// Ends a session after the run that is under way.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A session that could not go on. What it made is removed all the same, and its runs are kept.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Inputs cannot be made.
    #[error("model `{model}`")]
    Input {
        /// The model.
        model: String,
        /// Why.
        #[source]
        source: InputError,
    },
    /// The configuration API refused.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An earlier session was cut off and its journal is gone, so that nobody knows what `$LATEST` was.
    #[error(
        "`$LATEST` of `{function}` still carries the mark `{}` of a session whose journal is not here: set its memory, remove the variable, and start again",
        crate::versions::MARK
    )]
    Marked {
        /// The function.
        function: String,
    },
    /// Not one point could be measured.
    #[error("no point could be measured; the first failed with: {0}")]
    Nothing(String),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every point has its runs, or was given up.
    Finished,
    /// The budget is used up.
    Budget(BudgetKind),
    /// It was asked to.
    Stopped,
}

/// How far an experiment is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress<'a> {
    /// The model.
    pub model: &'a str,
    /// The point that was visited.
    pub point: Point,
    /// Runs done and runs in all, as far as can be told now.
    pub runs: (u64, u64),
    /// Dollars spent, over all sessions.
    pub usd: f64,
    /// Time that the rest is expected to take.
    pub left: Duration,
}

/// What a session works with.
pub struct Session<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// The way to Lambda.
    pub lambda: &'a Lambda,
    /// What Lambda charges.
    pub prices: Prices,
    /// What a run is expected to take, by model and point.
    pub predict: &'a (dyn Fn(&Model, &Point) -> Prediction + Sync),
    /// Ends it early.
    pub stop: Stop,
    /// Told after every visit.
    pub tell: &'a mut dyn FnMut(&Progress<'_>),
}

/// What identifies the models of an experiment in its journal.
///
/// # Errors
/// When a manifest or data file cannot be read.
pub fn identities(experiment: &Experiment) -> Result<BTreeMap<String, String>, SessionError> {
    let of = |model: &Model| {
        let inputs = inputs(experiment, model)?;
        let (name, version) = inputs.model();
        let data = model.data.as_ref().and_then(|data| data.path.file_name()).unwrap_or_default();
        let identity = format!("{} {name} {version} {} {}", model.function, data.display(), model.tokens);
        Ok((model.name.clone(), identity))
    };
    experiment.models.iter().map(of).collect()
}

fn inputs(experiment: &Experiment, model: &Model) -> Result<Inputs, SessionError> {
    let made = Inputs::from_manifest(&model.manifest, model.tokens, experiment.seed);
    let filled = made.and_then(|inputs| match &model.data {
        Some(data) => inputs.with_data(&data.path, data.field.as_deref(), experiment.seed),
        None => Ok(inputs),
    });
    filled.map_err(|source| SessionError::Input { model: model.name.clone(), source })
}

/// Deletes every version that the experiment has published, and gives `$LATEST` of its functions back: the number of versions deleted.
///
/// # Errors
/// The first failure; the other functions are tidied all the same.
pub async fn remove(
    experiment: &Experiment,
    lambda: &Lambda,
    journal: &Journal,
) -> Result<usize, VersionError> {
    let versions = Versions::new(lambda, &experiment.name);
    let mut functions: Vec<&str> = experiment.models.iter().map(|model| model.function.as_str()).collect();
    functions.sort_unstable();
    functions.dedup();
    let (mut deleted, mut first) = (0, Ok(()));
    for function in functions {
        match remove_of(&versions, function, journal).await {
            Ok(count) => deleted += count,
            Err(error) => first = first.and(Err(error)),
        }
    }
    first.map(|()| deleted)
}

async fn remove_of(versions: &Versions, function: &str, journal: &Journal) -> Result<usize, VersionError> {
    let restored = match journal.original(function) {
        Some(original) => versions.restore(original).await,
        None => Ok(()),
    };
    let ours = versions.ours(function).await?;
    for version in &ours {
        versions.delete(function, version).await?;
    }
    restored.map(|()| ours.len())
}
