//! What Lambda charges, and what an invocation costs by it.
//!
//! Reference: AWS Lambda pricing, us-east-1, November 2026 (duration tiers by architecture, request fee, 1 ms rounding).
//! Free tier and savings plans are left out on purpose: they hide what a decision costs at the margin.

use std::time::Duration;

use crate::Mebibytes;

/// Processor architecture of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// x86-64.
    #[default]
    X86_64,
    /// 64-bit Arm (Graviton).
    Arm64,
}

impl Architecture {
    /// AWS's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A duration price from a monthly volume on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PriceTier {
    /// GB-seconds used in the month from which this price holds; 0 for the first tier.
    pub from_gb_seconds: f64,
    /// Dollars per GB-second.
    pub usd_per_gb_second: f64,
}

/// Duration prices of one architecture: tiers ascending, the first from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchitecturePrice {
    /// The tiers.
    pub tiers: Vec<PriceTier>,
}

/// Lambda's price table.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceTable {
    /// For x86-64.
    pub x86_64: ArchitecturePrice,
    /// For Arm.
    pub arm64: ArchitecturePrice,
    /// Dollars per million requests.
    pub usd_per_million_requests: f64,
}

impl Default for PriceTable {
    /// us-east-1 list prices of November 2026.
    fn default() -> Self {
        let tiers = |first: f64, second_from: f64, third_from: f64| ArchitecturePrice {
            tiers: vec![
                PriceTier { from_gb_seconds: 0.0, usd_per_gb_second: first },
                PriceTier { from_gb_seconds: second_from, usd_per_gb_second: first * 0.9 },
                PriceTier { from_gb_seconds: third_from, usd_per_gb_second: first * 0.8 },
            ],
        };
        Self {
            x86_64: tiers(0.000_016_666_7, 6e9, 15e9),
            arm64: tiers(0.000_013_333_4, 7.5e9, 18.75e9),
            usd_per_million_requests: 0.20,
        }
    }
}

impl PriceTable {
    /// Year and month of the list prices that are the default.
    pub const LIST_OF: (u16, u8) = (2026, 11);

    /// Dollars per GB-second of an account that has used `month_gb_seconds` of this architecture in the month.
    #[must_use]
    pub fn usd_per_gb_second(&self, architecture: Architecture, month_gb_seconds: f64) -> f64 {
        let price = match architecture {
            Architecture::X86_64 => &self.x86_64,
            Architecture::Arm64 => &self.arm64,
        };
        let tier = price.tiers.iter().rev().find(|tier| tier.from_gb_seconds <= month_gb_seconds);
        tier.or(price.tiers.first()).map_or(0.0, |tier| tier.usd_per_gb_second)
    }

    /// Dollars of the duration part of one invocation in the first tier. `billed` is already rounded up to 1 ms.
    #[must_use]
    pub fn duration_usd(&self, architecture: Architecture, memory: Mebibytes, billed: Duration) -> f64 {
        memory.gibibytes() * billed.as_secs_f64() * self.usd_per_gb_second(architecture, 0.0)
    }

    /// Dollars of the fee of one invocation.
    #[must_use]
    pub fn request_usd(&self) -> f64 {
        self.usd_per_million_requests / 1e6
    }

    /// Dollars of one invocation in the first tier: duration and fee.
    #[must_use]
    pub fn invocation_usd(&self, architecture: Architecture, memory: Mebibytes, billed: Duration) -> f64 {
        self.duration_usd(architecture, memory, billed) + self.request_usd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_one_gibibyte_costs_the_list_price() {
        let prices = PriceTable::default();
        let usd = prices.duration_usd(Architecture::X86_64, Mebibytes(1024), Duration::from_secs(1));
        assert!((usd - 0.000_016_666_7).abs() < 1e-15);
    }

    #[test]
    fn a_tier_starts_at_its_volume() {
        let prices = PriceTable::default();
        let at = |volume| prices.usd_per_gb_second(Architecture::Arm64, volume);
        assert!(at(7.5e9 - 1.0) > at(7.5e9) && at(7.5e9) > at(18.75e9));
        assert!((at(1e12) / at(0.0) - 0.8).abs() < 1e-12);
    }
}
