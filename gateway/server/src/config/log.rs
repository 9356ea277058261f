//! `[log]`: log output, on standard error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Log output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `human`: a line for people. `json`: one JSON object a line. Default `human`.
    pub format: LogFormat,
    /// Directives of the form `level` or `target=level`, separated by commas, default `info`. More detail costs CPU.
    pub filter: String,
    /// Warnings and errors that one place in the code may write within a minute, 1 to 10,000, default 30. What is above becomes one line with its number,
    /// and is counted. More: storms are seen in detail, and fill the disk.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_repeats_per_minute: u32,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// For machines.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "info".to_owned(), max_repeats_per_minute: 30 }
    }
}
