//! What the routes need to know of the gateway that they live in.

use std::sync::Arc;
use std::time::Duration;

use gateway_contract::{Architecture, PriceTable};
use gateway_policy::share::Share;
use workers_protocol::ModelManifest;

use super::{BodyCodec, Endpoint};
use crate::estimate::InputSketch;
use crate::{ChunkPlan, JobState, OperatingPoint};

/// How a job's lines are run, as the gateway would run them now.
#[derive(Clone)]
pub struct Target {
    /// Where and how.
    pub point: OperatingPoint,
    /// Bounds of one invocation.
    pub chunk: ChunkPlan,
    /// For the price.
    pub architecture: Architecture,
    /// What Lambda charges.
    pub prices: Arc<PriceTable>,
    /// The model's manifest.
    pub manifest: Arc<ModelManifest>,
    /// Reads and writes the bodies of lines.
    pub codec: Arc<dyn BodyCodec>,
}

/// Why an endpoint cannot be used with a model; texts for callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// No such model.
    #[error("model `{0}` is not served")]
    Unknown(String),
    /// A model that the endpoint cannot use.
    #[error("{0}")]
    Unfit(String),
}

/// The gateway.
pub trait Gateway: Send + Sync + 'static {
    /// How lines for `endpoint` are run on `model`.
    ///
    /// # Errors
    /// The model is not served, or does not fit the endpoint.
    fn target(&self, endpoint: &Endpoint, model: &str) -> Result<Target, NotServed>;

    /// Items of a chunk that suit an input, by what live traffic has taught of the model; `None`: those of [`Self::target`].
    fn chunk_items(&self, model: &str, target: &Target, sketch: &InputSketch) -> Option<u32> {
        let _ = (model, target, sketch);
        None
    }

    /// Where jobs are counted.
    fn telemetry(&self) -> &dyn JobTelemetry;
}

/// What a job did since it was looked at last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JobProgress {
    /// Lines that got an answer.
    pub completed: u64,
    /// Lines that got none.
    pub failed: u64,
    /// Items answered.
    pub items: u64,
    /// Dollars.
    pub usd: f64,
    /// Billed duration.
    pub billed: Duration,
    /// Gigabyte-seconds.
    pub gb_seconds: f64,
    /// Invocations that were billed.
    pub invocations: u64,
    /// Invocations that Lambda throttled.
    pub throttled: u64,
}

/// Receives what happens to jobs. Must not block.
pub trait JobTelemetry: Send + Sync {
    /// Jobs that are in this state now, of those that this process runs or will run.
    fn jobs(&self, state: JobState, count: usize);
    /// A job moved on.
    fn progressed(&self, model: &str, progress: &JobProgress);
    /// A job ended; `age`: since it was created.
    fn ended(&self, model: &str, state: JobState, age: Duration);
    /// A job was asked to be cancelled, in this state.
    fn cancelled(&self, phase: JobState);
    /// What jobs may have of the account's concurrency, and what they use of it.
    fn share(&self, share: Share, in_flight: u32);
}
