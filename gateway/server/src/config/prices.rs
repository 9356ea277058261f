//! `[prices]`: what Lambda and the gateway's host cost. Defaults: us-east-1 list prices of November 2026.

use gateway_contract::{ArchitecturePrice, PriceTable, PriceTier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Lambda and the gateway's host cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PricesConfig {
    /// Duration tiers of x86-64, ascending by `from_gb_seconds`, the first from 0. Default: us-east-1 list prices.
    pub x86_64: Vec<TierConfig>,
    /// Duration tiers of Arm, ascending by `from_gb_seconds`, the first from 0. Default: us-east-1 list prices.
    pub arm64: Vec<TierConfig>,
    /// GB-seconds that the account uses in a month on the functions' architecture, 0 or more, default 0. It picks the duration tier that
    /// dollars are counted by and plans are chosen by. More: cheaper tiers.
    #[schemars(range(min = 0.0))]
    pub month_gb_seconds: f64,
    /// Dollars per million requests, 0 or more, default 0.20.
    #[schemars(range(min = 0.0))]
    pub usd_per_million_requests: f64,
    /// Dollars per hour of the host that runs this gateway, 0 or more, default 0. Counted while it runs, so that savings can be told net of it.
    #[schemars(range(min = 0.0))]
    pub gateway_usd_per_hour: f64,
}

/// A duration price from a monthly volume on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierConfig {
    /// GB-seconds of the month from which this price holds; 0 for the first tier.
    #[schemars(range(min = 0.0))]
    pub from_gb_seconds: f64,
    /// Dollars per GB-second.
    #[schemars(range(min = 0.0))]
    pub usd_per_gb_second: f64,
}

impl Default for PricesConfig {
    fn default() -> Self {
        let table = PriceTable::default();
        let tiers = |price: &ArchitecturePrice| {
            let tier = |tier: &PriceTier| TierConfig {
                from_gb_seconds: tier.from_gb_seconds,
                usd_per_gb_second: tier.usd_per_gb_second,
            };
            price.tiers.iter().map(tier).collect()
        };
        Self {
            x86_64: tiers(&table.x86_64),
            arm64: tiers(&table.arm64),
            month_gb_seconds: 0.0,
            usd_per_million_requests: table.usd_per_million_requests,
            gateway_usd_per_hour: 0.0,
        }
    }
}

impl PricesConfig {
    /// First key out of its range, and the range.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let amount = |value: f64| value.is_finite() && value >= 0.0;
        for (key, tiers) in [("x86_64", &self.x86_64), ("arm64", &self.arm64)] {
            let starts_at_zero = tiers.first().is_some_and(|tier| tier.from_gb_seconds == 0.0);
            let ascend = tiers.windows(2).all(|pair| pair[0].from_gb_seconds < pair[1].from_gb_seconds);
            if !starts_at_zero || !ascend || !tiers.iter().all(|tier| amount(tier.usd_per_gb_second)) {
                return Err((key, "needs tiers that ascend from 0 with prices of 0 or more"));
            }
        }
        if !amount(self.month_gb_seconds) {
            return Err(("month_gb_seconds", "must be 0 or more"));
        }
        if !amount(self.usd_per_million_requests) {
            return Err(("usd_per_million_requests", "must be 0 or more"));
        }
        if !amount(self.gateway_usd_per_hour) {
            return Err(("gateway_usd_per_hour", "must be 0 or more"));
        }
        Ok(())
    }

    /// For the accounting: of each architecture the tier in force, so that nothing behind this point need know the month's volume.
    #[must_use]
    pub fn table(&self) -> PriceTable {
        let price = |tiers: &[TierConfig]| {
            let in_force = tiers.iter().rev().find(|tier| tier.from_gb_seconds <= self.month_gb_seconds);
            let tier = in_force
                .map(|tier| PriceTier { from_gb_seconds: 0.0, usd_per_gb_second: tier.usd_per_gb_second });
            ArchitecturePrice { tiers: tier.into_iter().collect() }
        };
        PriceTable {
            x86_64: price(&self.x86_64),
            arm64: price(&self.arm64),
            usd_per_million_requests: self.usd_per_million_requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_contract::Architecture;

    #[test]
    fn the_months_volume_picks_the_tier() {
        let list = PriceTable::default();
        for (volume, architecture) in
            [(0.0, Architecture::X86_64), (7e9, Architecture::X86_64), (2e10, Architecture::Arm64)]
        {
            let prices = PricesConfig { month_gb_seconds: volume, ..PricesConfig::default() };
            let found = prices.table().usd_per_gb_second(architecture, 0.0);
            assert!((found - list.usd_per_gb_second(architecture, volume)).abs() < 1e-15);
        }
    }
}
