//! Bulk jobs: a data set through a model, fanned out over parallel invocations.
//!
//! A job is read line by line, cut into chunks, invoked in parallel and written exactly once; its state is in a database, so that it goes on
//! after `kill -9`. Deliberately absent: what a line means beyond plain columns ([`LineCodec`] is the seam), the configuration file, and retries
//! by anybody but the runner.
#![forbid(unsafe_code)]

mod capacity;
mod chunk;
mod codec;
mod error;
pub mod estimate;
mod executions;
mod input;
mod job;
mod output;
mod progress;
pub mod routes;
mod run;
mod spec;
mod store;

pub use capacity::{Capacity, Permit, Unshared};
pub use codec::{
    AnsweredLine, AnsweredTensor, ColumnCodec, DecodedLine, LineCodec, LineFault, LineTensor, Unfit,
    push_elements, push_string,
};
pub use error::BulkError;
pub use executions::{ExecutionFuture, Executions};
pub use input::line_id;
pub use job::{
    FileId, Job, JobCost, JobCounts, JobFailure, JobId, JobState, LineProblem, Owner, UnixMillis, unix_millis,
};
pub use progress::{Progress, Snapshot};
pub use run::{Holder, Invoke, RunContext, cancel_unrun, run, stop_elsewhere};
pub use spec::{
    ChunkPlan, DataFormat, Engine, InputSpec, JobSpec, Learn, Location, OperatingPoint, OutputSpec,
    StepFunctions,
};
pub use store::{Store, StoredFile};
/// What a model takes and gives; part of [`RunContext`].
pub use workers_protocol::ModelManifest;
