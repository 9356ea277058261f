//! The configuration: one TOML file, overridden by `PENSTOCK_…` variables, overridden by command-line settings.
//!
//! The structs here are the file's shape and the source of its JSON schema and reference page: a key's doc comment says its
//! meaning, unit, range, default and the effect of more and of less. [`Settings`] is what a valid file means to the rest of the
//! gateway. This is the one place that reads environment variables. Deliberately absent: interpolation inside values; and
//! secrets, which are named by where they are (`env:NAME`, `file:PATH`) and never shown.

mod aws;
mod bulk;
mod control;
mod diagnostics;
mod drain;
mod first_profile;
mod limits;
mod listen;
mod load;
mod log;
mod milliseconds;
mod model;
mod origins;
mod plan;
mod policy;
mod prices;
mod reference;
mod reload;
mod settings;
mod tenants;
mod traces;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use aws::{AwsConfig, AwsCredentials};
pub use bulk::BulkConfig;
pub use control::{ControlConfig, StateConfig};
pub use diagnostics::{ConfigError, Problem};
pub use drain::DrainConfig;
pub use limits::LimitsConfig;
pub use listen::ListenConfig;
pub use load::{Loaded, Source, load, load_text};
pub use log::{LogConfig, LogFormat};
pub use milliseconds::Milliseconds;
pub use model::{ArchitectureConfig, ModelConfig};
pub use origins::{Origin, print_effective};
pub use plan::{PackingConfig, PlanConfig, RetryConfig, RungConfig};
pub use policy::{
    DetectorConfig, ExplorationConfig, GuardConfig, ObjectiveConfig, PolicyConfig, PolicyKindConfig,
};
pub use prices::{PricesConfig, TierConfig};
pub use reference::{reference_markdown, schema_json};
pub use reload::{changed_restart_keys, config_hash};
pub use settings::{ModelSettings, Settings};
pub use tenants::TenantsConfig;
pub use traces::TracesConfig;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub listen: ListenConfig,
    /// Bounds of connections and requests. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub limits: LimitsConfig,
    /// How to reach Lambda. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub aws: AwsConfig,
    /// What Lambda and the gateway's host cost.
    pub prices: PricesConfig,
    /// How to stop.
    pub drain: DrainConfig,
    /// Log output. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub log: LogConfig,
    /// Traces, to an OpenTelemetry collector. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub traces: TracesConfig,
    /// For whom requests are. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub tenants: TenantsConfig,
    /// The control loop.
    pub control: ControlConfig,
    /// What is kept over restarts. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub state: StateConfig,
    /// Bulk jobs. Needs a restart.
    #[schemars(extend("x-requires-restart" = true))]
    pub bulk: BulkConfig,
    /// The served models, by the name that stands in URLs: 1 to 64 letters, digits, `-`, `_` or `.`.
    pub models: BTreeMap<String, ModelConfig>,
}
