//! `[models.NAME]`: one served model.

use std::path::PathBuf;

use gateway_contract::Architecture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Milliseconds, PlanConfig, PolicyConfig};

/// One served model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The model's `model.toml`, or the folder that holds it; relative to the configuration file.
    pub manifest: PathBuf,
    /// Name or ARN of the Lambda function that runs it.
    pub function: String,
    /// Processor of the function, for its price. Default `x86_64`.
    #[serde(default)]
    pub architecture: ArchitectureConfig,
    /// Hard deadline of requests that name none: past it they are answered 504. Default: none, they wait. Less: work that nobody
    /// waits for is dropped sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_timeout_ms: Option<Milliseconds>,
    /// How its items become batches and where they run.
    #[serde(default)]
    pub plan: PlanConfig,
    /// Who chooses another operating point than `plan`. Default: nobody (`pinned`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyConfig>,
}

/// Processor of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArchitectureConfig {
    /// x86-64.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    #[serde(rename = "arm64")]
    Arm64,
}

impl From<ArchitectureConfig> for Architecture {
    fn from(architecture: ArchitectureConfig) -> Self {
        match architecture {
            ArchitectureConfig::X86_64 => Self::X86_64,
            ArchitectureConfig::Arm64 => Self::Arm64,
        }
    }
}
