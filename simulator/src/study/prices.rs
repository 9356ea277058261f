//! `[prices]` and `[gateway]` of a study. Defaults: us-east-1 list prices of November 2026.

use gateway_contract::{Architecture, ArchitecturePrice, PriceTable, PriceTier};
use optimizer_tuner::Economics;
use serde::Deserialize;

use super::numbers::{count, maybe_not_negative, not_negative};

/// Processor architecture of the functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchitectureName {
    /// x86-64.
    #[default]
    X86_64,
    /// 64-bit Arm.
    Arm64,
}

/// What Lambda charges.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PricesSection {
    /// Default `x86_64`.
    pub architecture: ArchitectureName,
    /// Dollars per GB-second, 0 or more; default: the list price of the tier.
    #[serde(deserialize_with = "maybe_not_negative")]
    pub usd_per_gb_second: Option<f64>,
    /// Dollars per million requests, 0 or more; default 0.20.
    #[serde(deserialize_with = "maybe_not_negative")]
    pub usd_per_million_requests: Option<f64>,
    /// GB-seconds that the account uses in a month anyway: picks the list price's tier. 0 or more, default 0.
    #[serde(deserialize_with = "not_negative")]
    pub month_gb_seconds: f64,
}

/// The host that runs the gateway.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySection {
    /// Instance type, default `t4g.small`.
    pub name: String,
    /// Dollars per hour of one, 0 or more; default 0.0168 (t4g.small).
    #[serde(deserialize_with = "not_negative")]
    pub usd_per_hour: f64,
    /// How many, at least 1, default 1.
    #[serde(deserialize_with = "count")]
    pub count: u32,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self { name: "t4g.small".to_owned(), usd_per_hour: 0.0168, count: 1 }
    }
}

impl PricesSection {
    /// Lambda's architecture.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        match self.architecture {
            ArchitectureName::X86_64 => Architecture::X86_64,
            ArchitectureName::Arm64 => Architecture::Arm64,
        }
    }

    /// As the planes know prices.
    #[must_use]
    pub fn economics(&self) -> Economics {
        let mut prices = PriceTable::default();
        if let Some(usd_per_gb_second) = self.usd_per_gb_second {
            let tier = PriceTier { from_gb_seconds: 0.0, usd_per_gb_second };
            let price = ArchitecturePrice { tiers: vec![tier] };
            prices.x86_64 = price.clone();
            prices.arm64 = price;
        }
        if let Some(usd) = self.usd_per_million_requests {
            prices.usd_per_million_requests = usd;
        }
        Economics { prices, architecture: self.architecture(), month_gb_seconds: self.month_gb_seconds }
    }

    /// Whether these are the list prices.
    #[must_use]
    pub fn are_list_prices(&self) -> bool {
        self.usd_per_gb_second.is_none() && self.usd_per_million_requests.is_none()
    }
}
