//! What an invocation is billed: the REPORT line at the end of the log tail, in its text and JSON forms.
//!
//! The tail is the *last* 4 KiB of the log, so the line is looked for from the end. Values may be floats. A field that is
//! missing degrades to an estimate from wall time, flagged as such: a cost that is silently zero would be worse.
//! Reference: AWS Lambda documentation, "Understanding logs" (REPORT) and "platform.report" of the Telemetry API.

use std::time::Duration;

use gateway_contract::Mebibytes;
use serde::Deserialize;

/// What one invocation was billed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metering {
    /// Billed duration, INIT included where Lambda bills it; whole milliseconds.
    pub billed: Duration,
    /// INIT of a cold start.
    pub init: Option<Duration>,
    /// Memory of the version that ran.
    pub memory: Option<Mebibytes>,
    /// Largest memory that the sandbox has used so far.
    pub max_memory_used: Option<Mebibytes>,
    /// `billed` comes from wall time, because no REPORT line was there.
    pub is_estimate: bool,
}

impl Metering {
    /// An estimate from the wall time of the call: an upper bound but for INIT's billing rules.
    #[must_use]
    pub fn estimate(wall: Duration) -> Self {
        Self { billed: ceil_ms(wall.as_secs_f64() * 1e3), is_estimate: true, ..Self::default() }
    }

    /// Reads the last REPORT in a decoded log tail; `None` when there is none with a billed duration.
    #[must_use]
    pub fn from_log_tail(tail: &str) -> Option<Self> {
        tail.lines().rev().find_map(|line| {
            let line = line.trim();
            if line.starts_with("REPORT ") {
                from_text(line)
            } else if line.starts_with('{') && line.contains("platform.report") {
                from_json(line)
            } else {
                None
            }
        })
    }
}

fn from_text(line: &str) -> Option<Metering> {
    // Fields are separated by tabs: `Name: number unit`. Restore belongs to SnapStart, which bills it on top.
    let field = |name: &str| {
        line.split('\t').find_map(|field| {
            let value = field.trim().strip_prefix(name)?.strip_prefix(':')?;
            value
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
                .filter(|value| value.is_finite() && *value >= 0.0)
        })
    };
    let billed = field("Billed Duration")? + field("Billed Restore Duration").unwrap_or(0.0);
    Some(Metering {
        billed: ceil_ms(billed),
        init: field("Init Duration").or_else(|| field("Restore Duration")).map(milliseconds),
        memory: field("Memory Size").and_then(mebibytes),
        max_memory_used: field("Max Memory Used").and_then(mebibytes),
        is_estimate: false,
    })
}

#[derive(Deserialize)]
struct Line {
    record: Record,
}

#[derive(Deserialize)]
struct Record {
    metrics: Metrics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    billed_duration_ms: f64,
    #[serde(default)]
    billed_restore_duration_ms: f64,
    init_duration_ms: Option<f64>,
    restore_duration_ms: Option<f64>,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: Option<f64>,
    #[serde(rename = "maxMemoryUsedMB")]
    max_memory_used_mb: Option<f64>,
}

fn from_json(line: &str) -> Option<Metering> {
    let Line { record: Record { metrics } } = serde_json::from_str(line).ok()?;
    if metrics.billed_duration_ms < 0.0 {
        return None;
    }
    Some(Metering {
        billed: ceil_ms(metrics.billed_duration_ms + metrics.billed_restore_duration_ms.max(0.0)),
        init: metrics.init_duration_ms.or(metrics.restore_duration_ms).map(milliseconds),
        memory: metrics.memory_size_mb.and_then(mebibytes),
        max_memory_used: metrics.max_memory_used_mb.and_then(mebibytes),
        is_estimate: false,
    })
}

/// Longest duration that a function can have is 15 minutes; INIT adds some. A day bounds what a broken line can say.
const LONGEST_MS: f64 = 86_400_000.0;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=one day")]
fn ceil_ms(ms: f64) -> Duration {
    Duration::from_millis(ms.ceil().clamp(0.0, LONGEST_MS) as u64)
}

fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.clamp(0.0, LONGEST_MS) / 1e3)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn mebibytes(value: f64) -> Option<Mebibytes> {
    (1.0..=1e6).contains(&value).then(|| Mebibytes(value.ceil() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLD: &str = "START RequestId: 1 Version: 3\nhello\nEND RequestId: 1\n\
        REPORT RequestId: 1\tDuration: 395.99 ms\tBilled Duration: 662 ms\tMemory Size: 1769 MB\tMax Memory Used: 88 MB\tInit Duration: 265.72 ms\t\n";

    #[test]
    fn text_report_of_a_cold_start_is_read() {
        let metering = Metering::from_log_tail(COLD).unwrap();
        assert_eq!(metering.billed, Duration::from_millis(662));
        assert_eq!(metering.init, Some(Duration::from_secs_f64(0.26572)));
        assert_eq!(metering.memory, Some(Mebibytes(1769)));
        assert_eq!(metering.max_memory_used, Some(Mebibytes(88)));
        assert!(!metering.is_estimate);
    }

    #[test]
    fn json_report_with_floats_is_read() {
        let line = r#"{"time":"t","type":"platform.report","record":{"requestId":"1","status":"success","metrics":{"durationMs":12.3,"billedDurationMs":13.0,"memorySizeMB":512,"maxMemoryUsedMB":40}}}"#;
        let metering = Metering::from_log_tail(&format!("{{\"type\":\"app\"}}\n{line}\n")).unwrap();
        assert_eq!(metering.billed, Duration::from_millis(13));
        assert_eq!((metering.init, metering.memory), (None, Some(Mebibytes(512))));
    }

    #[test]
    fn the_last_report_counts_and_a_partial_one_is_none() {
        let two = format!("{COLD}REPORT RequestId: 2\tDuration: 1.5 ms\tBilled Duration: 2.0 ms\t");
        assert_eq!(Metering::from_log_tail(&two).unwrap().billed, Duration::from_millis(2));
        for tail in [
            "",
            "REPORT RequestId: 1\tDuration: 3 ms",
            "REPORT RequestId: 1\tBilled Duration: NaN ms",
            "{\"type\":\"platform.report\"}",
        ] {
            assert_eq!(Metering::from_log_tail(tail), None, "{tail:?}");
        }
    }

    #[test]
    fn estimates_round_up_and_say_so() {
        let metering = Metering::estimate(Duration::from_micros(1_200));
        assert_eq!((metering.billed, metering.is_estimate), (Duration::from_millis(2), true));
    }
}
