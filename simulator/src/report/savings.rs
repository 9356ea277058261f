//! What a month of the traffic costs with a policy, and what it saves against another.

use super::data::{HOURS_PER_MONTH, PolicyReport, Report};

/// Dollars of a month.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Monthly {
    /// Lambda's charges.
    pub lambda_usd: f64,
    /// The gateway's host, where the policy needs one.
    pub host_usd: f64,
}

impl Monthly {
    /// All of it.
    #[must_use]
    pub fn usd(&self) -> f64 {
        self.lambda_usd + self.host_usd
    }
}

/// The traffic of a report, repeated for a month.
#[must_use]
pub fn monthly(report: &Report, policy: &PolicyReport) -> Monthly {
    let millions = report.mean_requests_per_s * HOURS_PER_MONTH * 3600.0 / 1e6;
    Monthly {
        lambda_usd: policy.figures.usd_per_million.mean * millions,
        host_usd: if policy.needs_gateway { report.gateway.usd_per_month() } else { 0.0 },
    }
}

/// Share of another policy's monthly cost that the chosen one saves, hosts included; below 0 where it is dearer.
#[must_use]
pub fn saved_share(report: &Report, other: &PolicyReport) -> Option<f64> {
    let chosen = report.policies.first()?;
    let (ours, theirs) = (monthly(report, chosen).usd(), monthly(report, other).usd());
    (theirs > 0.0).then(|| 1.0 - ours / theirs)
}
