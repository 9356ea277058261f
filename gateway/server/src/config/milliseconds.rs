//! A duration in a key that ends in `_ms`.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Milliseconds, fractions allowed, 0 to one day.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Milliseconds(f64);

/// One day: longer waits in a configuration are slips of the unit.
const MAX_MS: f64 = 86_400_000.0;

impl Milliseconds {
    /// Whole milliseconds, cut to one day.
    #[must_use]
    pub const fn new(ms: u32) -> Self {
        let ms = ms as f64;
        Self(if ms > MAX_MS { MAX_MS } else { ms })
    }

    /// Of a duration, cut to one day.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self((duration.as_secs_f64() * 1e3).min(MAX_MS))
    }

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0 / 1e3)
    }
}

impl JsonSchema for Milliseconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Milliseconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": MAX_MS })
    }
}

impl TryFrom<f64> for Milliseconds {
    type Error = String;

    fn try_from(ms: f64) -> Result<Self, String> {
        if (0.0..=MAX_MS).contains(&ms) {
            Ok(Self(ms))
        } else {
            Err(format!("{ms} is not 0 to {MAX_MS} milliseconds"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sensible_durations_are_taken() {
        assert_eq!(Milliseconds::try_from(0.5).unwrap().duration(), Duration::from_micros(500));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(Milliseconds::try_from(bad).is_err(), "{bad}");
        }
    }
}
