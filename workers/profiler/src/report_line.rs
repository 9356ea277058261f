//! What an invocation is billed: the REPORT line at the end of its log tail.
//!
//! Only the text form, which is Lambda's default and what the local Lambda writes. The gateway reads more forms; a sweep that cannot read
//! its bill has no result and says so.

/// What a REPORT line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billing {
    /// Duration of the invocation without INIT, microseconds.
    pub duration_us: u64,
    /// Billed duration, milliseconds, rounded up.
    pub billed_ms: u64,
    /// INIT of a cold start, microseconds.
    pub init_us: Option<u64>,
    /// Largest memory used so far, MiB.
    pub max_memory_used_mib: u32,
}

impl Billing {
    /// Reads the last REPORT line of a decoded log tail; `None` when there is none with a billed duration and a memory peak.
    #[must_use]
    pub fn from_log_tail(tail: &str) -> Option<Self> {
        let line = tail.lines().rev().map(str::trim).find(|line| line.starts_with("REPORT "))?;
        Some(Self {
            duration_us: number(line, "Duration").map_or(0, |ms| whole(ms * 1e3)),
            billed_ms: whole(number(line, "Billed Duration")?.ceil()),
            init_us: number(line, "Init Duration").map(|ms| whole(ms * 1e3)),
            max_memory_used_mib: u32::try_from(whole(number(line, "Max Memory Used")?)).ok()?,
        })
    }
}

/// The number of the field `Name: 12.3 unit`; fields are separated by tabs.
fn number(line: &str, name: &str) -> Option<f64> {
    let field = line.split('\t').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix(':'))?;
    let number: f64 = field.split_whitespace().next()?.parse().ok()?;
    (0.0..=1e12).contains(&number).then_some(number)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be 0 to 10^12, times 10^3 at most"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_of_a_cold_start_is_read() {
        let tail = "START RequestId: 1\nREPORT RequestId: 1\tDuration: 395.99 ms\tBilled Duration: 662 ms\tMemory Size: 1769 MB\tMax Memory Used: 88 MB\tInit Duration: 265.72 ms\t\n";
        assert_eq!(
            Billing::from_log_tail(tail),
            Some(Billing {
                duration_us: 395_990,
                billed_ms: 662,
                init_us: Some(265_720),
                max_memory_used_mib: 88
            })
        );
    }

    #[test]
    fn a_tail_without_a_whole_report_is_none() {
        for tail in [
            "",
            "hello",
            "REPORT RequestId: 1\tDuration: 3 ms\t",
            "REPORT RequestId: 1\tBilled Duration: NaN ms\tMax Memory Used: 88 MB",
        ] {
            assert_eq!(Billing::from_log_tail(tail), None, "{tail:?}");
        }
    }
}
