//! What a job is asked for: model, operating point, chunk plan, input, output, bounds. Written into the store as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gateway_contract::Mebibytes;
use serde::{Deserialize, Serialize};

use crate::estimate::PlanBounds;
use crate::{BulkError, UnixMillis};

/// A job's request. Nothing of it changes while it runs, but for the operating point if `is_adaptive`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Model name, for people and metrics.
    pub model: String,
    /// What the lines are, for whoever builds the codec: `bulk`, `/v1/embeddings`, `/v2/models/NAME/infer`.
    pub kind: String,
    /// Where and how it runs.
    pub point: OperatingPoint,
    /// Bounds of one chunk.
    pub chunk: ChunkPlan,
    /// Parallel invocations, at least 1.
    pub parallelism: u32,
    /// Who runs the chunks.
    #[serde(default)]
    pub engine: Engine,
    /// Point, chunk and parallelism are to be chosen from what the job's own first chunks teach; `None`: they are as they are wanted.
    #[serde(default)]
    pub learn: Option<Learn>,
    /// How point, chunk and parallelism were chosen, for people.
    #[serde(default)]
    pub why: Option<String>,
    /// Where the lines are.
    pub input: InputSpec,
    /// Where answers go.
    pub output: OutputSpec,
    /// Where lines without an answer go: JSON Lines, local or `s3://`.
    pub errors: Location,
    /// Wish: done within this time. Used for planning, never enforced; `expires_at` is.
    #[serde(default)]
    pub finish_within: Option<Duration>,
    /// Stop before this many dollars are passed.
    #[serde(default)]
    pub max_usd: Option<f64>,
    /// When what is left is given up.
    #[serde(default)]
    pub expires_at: Option<UnixMillis>,
    /// Refuse the whole job if a line cannot be decoded (OpenAI's rule). Else such lines go to the error file.
    #[serde(default)]
    pub is_strict: bool,
    /// Caller's notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// Who runs the chunks of a job. Both cut it alike, send the same to the same worker, and write the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// This process invokes the function.
    #[default]
    Local,
    /// A state machine does; what it leaves is finished by this process.
    StepFunctions(StepFunctions),
}

/// What a plan is chosen from, once the first chunks have taught what the model takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learn {
    /// Sizes to choose from.
    pub bounds: PlanBounds,
    /// Alias or version whatever the memory; `None`: `mem-…`.
    pub qualifier: Option<String>,
}

/// A state machine of AWS Step Functions that takes chunks (`deploy/stepfunctions/bulk.asl.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFunctions {
    /// Its ARN.
    pub state_machine: String,
    /// `s3://bucket/prefix` below which chunks and answers lie while the job runs. The worker must be allowed to use it (`PENSTOCK_CHUNKS`).
    pub work: String,
    /// Chunks that may fail, of a hundred, before the execution is given up: 0 to 100. More: a broken function is paid for longer.
    pub tolerated_failure_percentage: u32,
}

/// Where and how invocations run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// Function name or ARN.
    pub function: String,
    /// Alias or version; empty: `$LATEST`.
    pub qualifier: String,
    /// Its memory, for the price where no REPORT line names it.
    pub memory_mib: u32,
    /// Model processes in each environment, 1 to 64.
    pub process_count: u32,
}

impl OperatingPoint {
    /// Memory as the contract has it.
    #[must_use]
    pub const fn memory(&self) -> Mebibytes {
        Mebibytes(self.memory_mib)
    }
}

/// Bounds of one chunk, which is one invocation unless it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkPlan {
    /// Items at most, at least 1.
    pub max_items: u32,
    /// Bytes of its encoded request at most; never above what Lambda takes.
    pub max_request_bytes: u64,
}

/// A place of bytes: a local path, or `s3://bucket/key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// On this machine.
    Local(PathBuf),
    /// An S3 URL.
    S3(String),
}

impl Location {
    /// Reads a path or an `s3://` URL.
    ///
    /// # Errors
    /// [`BulkError::Usage`] for other URLs, or an S3 URL without bucket or key.
    pub fn parse(text: &str) -> Result<Self, BulkError> {
        let wrong = |reason: &str| Err(BulkError::Usage { reason: format!("`{text}` {reason}") });
        match text.split_once("://") {
            None if text.is_empty() => wrong("is no path"),
            None => Ok(Self::Local(PathBuf::from(text))),
            Some(("s3", rest)) => match rest.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self::S3(text.to_owned())),
                _ => wrong("needs a bucket and a key: s3://bucket/key"),
            },
            Some(_) => wrong("is neither a local path nor an s3:// URL"),
        }
    }

    /// Its last part, for the format by its ending.
    #[must_use]
    pub fn extension(&self) -> Option<&str> {
        let name = match self {
            Self::Local(path) => path.file_name()?.to_str()?,
            Self::S3(url) => url.rsplit('/').next()?,
        };
        name.rsplit_once('.').map(|(_, extension)| extension)
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::S3(url) => f.write_str(url),
        }
    }
}

/// How a data set is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFormat {
    /// One JSON object a line.
    Jsonl,
    /// Comma separated, with a header line.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl DataFormat {
    /// By a name or a file's ending.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Where the lines are and what they look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Where.
    pub location: Location,
    /// How written.
    pub format: DataFormat,
    /// The member or column that names a line: `id`, or `custom_id` for OpenAI's lines. Lines without one are named by their number.
    pub id_field: String,
    /// Model input → the members or columns it is made of, for plain lines. Empty: each line is a whole request, the codec's matter.
    #[serde(default)]
    pub columns: BTreeMap<String, Vec<String>>,
}

/// Where answers go and what they look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Where.
    pub location: Location,
    /// How written.
    pub format: DataFormat,
    /// Whether lines stand in the order of the input. Costs a sort on disk at the end.
    #[serde(default)]
    pub is_sorted: bool,
}
