//! What an invocation costs: pure arithmetic over a price table. No clock, no counters (those are in `ledger`), no free
//! tier and no savings plan: the bill is the list price.
//!
//! Problem: prices have ten decimals, an invocation costs some 1e-7 dollars, and a month adds up hundreds of millions of
//! them; sums of floats would drift. Rule: everything is an integer. Duration is billed in whole milliseconds and memory in
//! whole MiB, so usage is an integer number of MiB·ms; prices are integers of 1e-16 dollars ("quanta") per GB-second.
//! One GB-second is 1024 · 1000 MiB·ms, so the only division happens when a sum is shown.
//! Source of the figures: the price table in the published documentation for us-east-1, November 2026.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// MiB·ms in one GB-second (AWS's GB is 1024 MiB).
pub const MIB_MS_PER_GB_SECOND: u128 = 1024 * 1000;

/// Dollar quanta in a dollar: prices are exact to the tenth decimal, and the rest is room for tier discounts.
const QUANTA_PER_USD: f64 = 1e16;

/// Instruction set of a function; the two have separate prices and separate monthly tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// `x86_64`
    #[serde(rename = "x86_64")]
    X86,
    /// `arm64`
    #[serde(rename = "arm64")]
    Arm,
}

impl Architecture {
    /// The name that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "arm64",
        }
    }
}

/// One step of a price: `usd_per_gb_second` holds up to `up_to_gb_seconds` of the month's use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTier {
    /// Upper end of the tier in GB-seconds a month; leave it out for the last tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_gb_seconds: Option<u64>,
    /// Dollars per GB-second, exact to ten decimals.
    pub usd_per_gb_second: f64,
}

/// Prices of one region. The defaults are us-east-1's of November 2026.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceTable {
    /// Duration price of x86_64, by month's use.
    pub x86_64: Vec<PriceTier>,
    /// Duration price of arm64, by month's use.
    pub arm64: Vec<PriceTier>,
    /// Dollars per million requests.
    pub usd_per_million_requests: f64,
}

impl Default for PriceTable {
    fn default() -> Self {
        let tiers = |first: f64, ends: [u64; 2]| {
            let tier = |end, share: f64| PriceTier {
                up_to_gb_seconds: end,
                // Rounded to the tenth decimal of a dollar, as price lists are, with room below for the discount.
                usd_per_gb_second: (first * share * 1e12).round() / 1e12,
            };
            vec![tier(Some(ends[0]), 1.0), tier(Some(ends[1]), 0.9), tier(None, 0.8)]
        };
        Self {
            x86_64: tiers(0.000_016_666_7, [6_000_000_000, 15_000_000_000]),
            arm64: tiers(0.000_013_333_4, [7_500_000_000, 18_750_000_000]),
            usd_per_million_requests: 0.20,
        }
    }
}

impl PriceTable {
    /// Dollars of `mib_ms` of use of one architecture in one month, tier by tier.
    #[must_use]
    pub fn duration_usd(&self, architecture: Architecture, mib_ms: u128) -> f64 {
        let tiers = match architecture {
            Architecture::X86 => &self.x86_64,
            Architecture::Arm => &self.arm64,
        };
        let (mut billed, mut quanta) = (0_u128, 0_u128);
        for tier in tiers {
            let end = tier.up_to_gb_seconds.map_or(u128::MAX, |end| u128::from(end) * MIB_MS_PER_GB_SECOND);
            let in_tier = mib_ms.min(end).saturating_sub(billed);
            quanta += in_tier * price_quanta(tier.usd_per_gb_second);
            billed += in_tier;
        }
        quanta as f64 / MIB_MS_PER_GB_SECOND as f64 / QUANTA_PER_USD
    }

    /// Dollars of `requests` requests.
    #[must_use]
    pub fn requests_usd(&self, requests: u64) -> f64 {
        requests as f64 * self.usd_per_million_requests / 1e6
    }

    /// Dollars of a million invocations that are all billed `billed_ms` at `memory_mib`, first tier, with the request fee.
    #[must_use]
    pub fn usd_per_million(&self, architecture: Architecture, memory_mib: u32, billed_ms: u64) -> f64 {
        let one = u128::from(memory_mib) * u128::from(billed_ms);
        self.duration_usd(architecture, one) * 1e6 + self.usd_per_million_requests
    }
}

/// Milliseconds that are billed for a duration and, if the environment was cold, its INIT: rounded up together.
#[must_use]
pub fn billed_ms(duration: Duration, init: Option<Duration>) -> u64 {
    let nanos = (duration + init.unwrap_or_default()).as_nanos();
    u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, clamped to 0 and far below 2^127"
)]
fn price_quanta(usd: f64) -> u128 {
    (usd * QUANTA_PER_USD).round().max(0.0) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB_S: u128 = MIB_MS_PER_GB_SECOND;

    #[test]
    fn a_started_millisecond_is_billed_whole_and_init_is_added_before_rounding() {
        let ms = |value: f64| Duration::from_secs_f64(value / 1000.0);
        assert_eq!(billed_ms(ms(395.99), Some(ms(265.72))), 662);
        assert_eq!(billed_ms(Duration::from_nanos(1), None), 1);
        assert_eq!(billed_ms(Duration::from_millis(5), None), 5);
        assert_eq!(billed_ms(Duration::from_nanos(5_000_001), None), 6);
    }

    #[test]
    fn the_first_tier_charges_the_list_price() {
        let prices = PriceTable::default();
        assert!((prices.duration_usd(Architecture::X86, 1_000_000 * GB_S) - 16.666_7).abs() < 1e-9);
        assert!((prices.duration_usd(Architecture::Arm, 1_000_000 * GB_S) - 13.333_4).abs() < 1e-9);
        assert!((prices.requests_usd(5_000_000) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn use_beyond_a_tier_costs_ten_then_twenty_percent_less() {
        let prices = PriceTable::default();
        let billion = 1_000_000_000 * GB_S;
        let first = 6.0 * 16_666.7;
        let x86 = |use_| prices.duration_usd(Architecture::X86, use_);
        assert!((x86(6 * billion) - first).abs() < 1e-5);
        assert!((x86(7 * billion) - first - 0.9 * 16_666.7).abs() < 1e-5);
        assert!((x86(16 * billion) - first - 9.0 * 0.9 * 16_666.7 - 0.8 * 16_666.7).abs() < 1e-5);
    }

    #[test]
    fn summing_a_month_of_small_invocations_loses_nothing() {
        let prices = PriceTable::default();
        let one = 128_u128 * 7;
        let sum = prices.duration_usd(Architecture::X86, one * 700_000_000);
        let exact = 128.0 * 7.0 * 700_000_000.0 / 1_024_000.0 * 0.000_016_666_7;
        assert!((sum - exact).abs() < 1e-9, "{sum} {exact}");
    }
}
