//! `[control]` and `[state]`: the control loop beside the models' policies.

use std::path::PathBuf;

use gateway_contract::Mebibytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Milliseconds;

/// The control loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// How often each model's alias is called with a no-op, the first time at the start, 0 (never) or at least 1,000, default 60,000.
    /// A missing alias or a worker of another protocol version turns readiness to 503 until it is mended. Less: noticed sooner; each
    /// call costs a request fee and a millisecond or two, and keeps a sandbox warm.
    pub probe_interval_ms: Milliseconds,
    /// Largest function memory that the account allows, MiB, 128 to 10,240, default 10,240. New accounts have 3,008.
    #[schemars(range(min = 128, max = 10_240))]
    pub account_memory_ceiling_mib: u32,
    /// Sandboxes that plans may count on at a time, at least 1, default 1,000; requests per second are ten times that. The account is asked
    /// for its own limit at the start, and the smaller counts. Less: plans with fewer and larger batches under high load.
    #[schemars(range(min = 1))]
    pub account_concurrency: u32,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            probe_interval_ms: Milliseconds::new(60_000),
            account_memory_ceiling_mib: Mebibytes::LAMBDA_MAX.0,
            account_concurrency: 1000,
        }
    }
}

impl ControlConfig {
    /// First key out of its range, and the range.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let interval = self.probe_interval_ms;
        if interval != Milliseconds::new(0) && interval < Milliseconds::new(1000) {
            return Err(("probe_interval_ms", "must be 0 or at least 1000"));
        }
        if !(128..=10_240).contains(&self.account_memory_ceiling_mib) {
            return Err(("account_memory_ceiling_mib", "must be 128 to 10240"));
        }
        if self.account_concurrency == 0 {
            return Err(("account_concurrency", "must be at least 1"));
        }
        Ok(())
    }
}

/// What is kept over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// Folder for what was learned and the last good plan of each model, relative to the configuration file; it is made if it is not
    /// there. Default: none, and each start begins with the configured plans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// URL of a copy of that folder that outlives the host, `s3://bucket/prefix` (region, credentials and endpoint from the environment, as for
    /// the AWS command line) or `file:///folder`: written after each save, read at the start of a model that the folder knows nothing of. Needs
    /// `directory`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// URL of a store that all gateways of these models share: `s3://bucket/prefix`, `file:///folder` of a file system with locks, or
    /// `postgres://user@host/database`. Of each model one gateway decides, under a lease, and the others serve what it publishes there. Not together
    /// with `copy`. Default: none, and each gateway learns alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<String>,
    /// How long a gateway that decides, or that runs a batch job, may be silent before another one takes over, 1,000 to 600,000, default
    /// 15,000. Less: a dead one is replaced sooner; more writes, and a short silence of the store stops decisions.
    pub lease_ms: Milliseconds,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { directory: None, copy: None, shared: None, lease_ms: Milliseconds::new(15_000) }
    }
}

impl StateConfig {
    /// First key out of its range, and the range.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !(Milliseconds::new(1000)..=Milliseconds::new(600_000)).contains(&self.lease_ms) {
            return Err(("lease_ms", "must be 1000 to 600000"));
        }
        match &self.shared {
            Some(_) if self.copy.is_some() => {
                Err(("copy", "is not needed beside `shared`, which keeps the same"))
            }
            Some(url) if gateway_lease::Store::check(url).is_err() => Err((
                "shared",
                "must be `s3://bucket/prefix`, `file:///folder` or `postgres://user@host/database`",
            )),
            _ => Ok(()),
        }
    }
}
