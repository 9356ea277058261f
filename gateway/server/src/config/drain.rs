//! `[drain]`: how to stop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Milliseconds;

/// How to stop after SIGTERM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrainConfig {
    /// How long to keep serving after readiness has turned to 503, default 500. More: load balancers have time to notice. Less: a quicker stop.
    pub drain_delay_ms: Milliseconds,
    /// Longest time for requests in flight to finish after that, default 25,000. Over it they are answered with an error. Keep the sum
    /// of both below the service manager's own time-out.
    pub drain_limit_ms: Milliseconds,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { drain_delay_ms: Milliseconds::new(500), drain_limit_ms: Milliseconds::new(25_000) }
    }
}
