//! Tokio's clock, which tests can pause, as the engine's time.

use gateway_contract::Timestamp;
use tokio::time::Instant;

/// Origin of the engine's time. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(super) fn at(self, instant: Instant) -> Timestamp {
        let nanos = instant.saturating_duration_since(self.0).as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The instant of a timestamp; a far one if it does not fit.
    pub(super) fn instant(self, at: Timestamp) -> Instant {
        const FAR: std::time::Duration = std::time::Duration::from_secs(86_400 * 365);
        self.0 + std::time::Duration::from_nanos(at.as_nanos()).min(FAR)
    }
}
