//! What a job is: its name, its owner, what it was asked for, how far it has come and what it cost.
//!
//! Plain values; nothing here reads, writes or asks the time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{BulkError, JobSpec};

/// Milliseconds since 1970-01-01 UTC.
pub type UnixMillis = i64;

/// The clock of jobs.
#[must_use]
pub fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Name of a job: 128 random bits, so that it cannot be guessed. Knowing one is no right to it: look-ups ask for the owner too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

/// Name of a file kept for the routes; like [`JobId`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(String);

macro_rules! text_id {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// A new one from the system's random source.
            ///
            /// # Errors
            /// [`BulkError::Io`] if there is none.
            pub fn random() -> Result<Self, BulkError> {
                Ok(Self(format!("{}{}", $prefix, random_hex()?)))
            }

            /// Reads one. `None` if it is not of the form that [`Self::random`] gives.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.strip_prefix($prefix)?;
                let fits = digits.len() == 32
                    && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                fits.then(|| Self(text.to_owned()))
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_id!(JobId, "batch_");
text_id!(FileId, "file-");

fn random_hex() -> Result<String, BulkError> {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|source| BulkError::Io { what: "read /dev/urandom".to_owned(), source })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Who may see a job: a hash of a caller's token, or [`Owner::local`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(pub String);

impl Owner {
    /// The owner of jobs of the command line, and of a gateway without tokens.
    #[must_use]
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

/// Where a job stands; names as in OpenAI's Batch API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// The input is read once, for its ids and its size.
    Validating,
    /// It cannot go on; [`Job::failure`] says why. It can be run again if that was mended.
    Failed,
    /// Lines are being answered.
    InProgress,
    /// All lines have an outcome; output and error file are being put in place.
    Finalizing,
    /// Output and error file are in place.
    Completed,
    /// Its time ran out; what was answered is in the output, every other line in the error file.
    Expired,
    /// To be cancelled; invocations under way end.
    Cancelling,
    /// Cancelled; what was answered until then is in the output.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Validating,
        Self::Failed,
        Self::InProgress,
        Self::Finalizing,
        Self::Completed,
        Self::Expired,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// The API's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the API's name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Lines by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCounts {
    /// Lines of the input; 0 until it is validated.
    pub total: u64,
    /// Lines in the output.
    pub completed: u64,
    /// Lines in the error file.
    pub failed: u64,
    /// Items answered; a line may hold several.
    pub items: u64,
    /// Invocations whose outcome was unknown and that were run once more: their lines may have been computed (and billed) twice.
    pub unknown_outcomes: u64,
}

/// What a job has cost so far. Invocations that were under way when a runner was killed are not in it: nobody saw their bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobCost {
    /// Dollars, duration and request fees.
    pub usd: f64,
    /// Billed duration, milliseconds.
    pub billed_ms: u64,
    /// Gigabyte-seconds.
    pub gb_seconds: f64,
    /// Invocations that were billed.
    pub invocations: u64,
    /// Invocations that started a sandbox.
    pub cold_starts: u64,
    /// Whether some of it is an estimate, as no REPORT line came.
    pub is_estimate: bool,
}

impl JobCost {
    /// Adds another part.
    pub fn add(&mut self, other: &Self) {
        self.usd += other.usd;
        self.billed_ms += other.billed_ms;
        self.gb_seconds += other.gb_seconds;
        self.invocations += other.invocations;
        self.cold_starts += other.cold_starts;
        self.is_estimate |= other.is_estimate;
    }
}

/// Why a job failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// For programs: `duplicate_id`, `invalid_input`, `budget_exhausted`, `refused`, `function_broken`, `stalled`, `storage`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Lines to mend, at most [`JobFailure::MAX_PROBLEMS`].
    #[serde(default)]
    pub problems: Vec<LineProblem>,
}

impl JobFailure {
    /// Problems that are kept.
    pub const MAX_PROBLEMS: usize = 100;

    /// A failure without lines.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), problems: Vec::new() }
    }
}

/// What is wrong with one line of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineProblem {
    /// Line (or row) number, from 1. A CSV file's header is not counted.
    pub line: u64,
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A job as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Who may see it.
    pub owner: Owner,
    /// What was asked for.
    pub spec: JobSpec,
    /// Where it stands.
    pub state: JobState,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When each state was reached (last), by name.
    pub reached: BTreeMap<JobState, UnixMillis>,
    /// Lines by outcome.
    pub counts: JobCounts,
    /// Cost so far.
    pub cost: JobCost,
    /// Why it failed, if it did.
    pub failure: Option<JobFailure>,
    /// Time in which it was being run, over all runners.
    pub active: Duration,
}

impl Job {
    /// Whether a failed job may end well if it is run again as it is: not if its input is to blame.
    #[must_use]
    pub fn can_go_on(&self) -> bool {
        self.failure
            .as_ref()
            .is_none_or(|failure| !matches!(failure.code.as_str(), "duplicate_id" | "invalid_input"))
    }
}
