//! What cold starts add to a prediction, given how often they happen.
//!
//! Rule: with chance c an invocation starts an environment: INIT is billed like the run and comes before it. Cost per request rises by
//! c·INIT·price·(batches per request); a share c of the requests waits INIT longer.
//! Deliberately absent: c itself. It depends on keep-alive, on how much the load moves and on what a plan switch leaves behind.

use super::fill::FillLaw;
use super::latency::LatencyLaw;

/// Cold starts of one plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColdStarts {
    /// Chance that an invocation is cold, 0 to 1.
    pub chance: f64,
    /// Seconds of INIT: billed, and waited.
    pub init_seconds: f64,
    /// Seconds until INIT begins (finding a host, fetching code): waited, not billed.
    pub unbilled_seconds: f64,
}

impl ColdStarts {
    /// Dollars that they add to a request.
    #[must_use]
    pub fn usd_per_request(&self, fill: &FillLaw, usd_per_second: f64) -> f64 {
        fill.usd_per_request(self.chance * self.init_seconds * usd_per_second)
    }

    /// P(latency > `seconds`) with them.
    #[must_use]
    pub fn upper_tail(&self, latency: &LatencyLaw, seconds: f64) -> f64 {
        let cold = latency.upper_tail(seconds - self.init_seconds - self.unbilled_seconds);
        (1.0 - self.chance) * latency.upper_tail(seconds) + self.chance * cold
    }
}
