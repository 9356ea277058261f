//! `[account]` of a study: limits, and what of Lambda depends on where the gateway stands.

use gateway_contract::Mebibytes;
use optimizer_tuner::Economics;
use serde::Deserialize;

use super::numbers::{count, memory_sizes, not_negative};
use crate::deployment::{Account, NetworkLaw};
use crate::lambda::{KeepAlive, LimitSettings};

/// An account.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSection {
    /// Environments at a time, at least 1, default 1000. Less: bursts are throttled.
    #[serde(deserialize_with = "count")]
    pub concurrency: u32,
    /// Memory sizes that policies may choose, MiB, ascending, 128 to 10240; default nine sizes from 256 to 10240. A new account ends at 3008.
    #[serde(deserialize_with = "memory_sizes")]
    pub memory_mib: Vec<u32>,
    /// Seconds that an idle environment is kept, default 300 (not documented by AWS). Less: more cold starts.
    #[serde(deserialize_with = "not_negative")]
    pub keep_alive_s: f64,
    /// Round trip to Lambda beyond the function, milliseconds, default 4.
    #[serde(deserialize_with = "not_negative")]
    pub network_ms: f64,
}

impl Default for AccountSection {
    fn default() -> Self {
        Self {
            concurrency: 1000,
            memory_mib: vec![256, 512, 1024, 1769, 3008, 3538, 5307, 7076, 10_240],
            keep_alive_s: 300.0,
            network_ms: 4.0,
        }
    }
}

impl AccountSection {
    /// As deployments know it.
    #[must_use]
    pub fn account(&self, economics: Economics) -> Account {
        Account {
            limits: LimitSettings { concurrency: self.concurrency, ..LimitSettings::default() },
            keep_alive: KeepAlive::Fixed(self.keep_alive_s),
            network: NetworkLaw::Fixed(self.network_ms / 1e3),
            economics,
            ..Account::default()
        }
    }

    /// The sizes.
    #[must_use]
    pub fn memories(&self) -> Vec<Mebibytes> {
        self.memory_mib.iter().copied().map(Mebibytes).collect()
    }
}
