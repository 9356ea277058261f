//! What can go wrong with a job as a whole, named for what the caller can do about it. What is wrong with one line is a
//! [`LineFault`](crate::LineFault).

use crate::JobId;

/// A job that cannot go on, or a question that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// The request is wrong: change it.
    #[error("{reason}")]
    Usage {
        /// What is wrong.
        reason: String,
    },
    /// No such job (or file), or another owner's: the two are not told apart.
    #[error("no job `{id}`")]
    NotFound {
        /// The id asked for.
        id: String,
    },
    /// Another runner has the job.
    #[error("job `{id}` is being run by another process")]
    Busy {
        /// The job.
        id: JobId,
    },
    /// The job is not in a state that permits this.
    #[error("job `{id}` is {state}")]
    WrongState {
        /// The job.
        id: JobId,
        /// Its state.
        state: crate::JobState,
    },
    /// A local file or the operating system.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: std::io::Error,
    },
    /// The input cannot be read.
    #[error("input `{location}`: {reason}")]
    Input {
        /// Where.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The input is another one than the job began with.
    #[error("input `{location}` has changed since the job began; start a new job")]
    InputChanged {
        /// Where.
        location: String,
    },
    /// A place in an object store that cannot be used.
    #[error(transparent)]
    Location(#[from] gateway_objects::LocationError),
    /// An object store.
    #[error("object store: {0}")]
    ObjectStore(#[from] object_store::Error),
    /// The state machine that runs the chunks.
    #[error(transparent)]
    StateMachine(#[from] gateway_invoker::StateMachineError),
    /// The job runs in a state machine, and whoever runs it here has no way to one.
    #[error("the job runs in a state machine, which only its own command reaches")]
    NoStateMachine,
    /// The job database.
    #[error("job database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database was written by a newer version.
    #[error("the job database has schema version {found}, this build knows {known}: use a newer build")]
    NewerSchema {
        /// Version found.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// What the database holds does not fit: written by something else, or damaged.
    #[error("the job database holds an unreadable job: {reason}")]
    Corrupt {
        /// What is wrong.
        reason: String,
    },
    /// The output cannot be written in this format.
    #[error("output: {reason}")]
    Output {
        /// Why.
        reason: String,
    },
}

impl BulkError {
    /// With what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
