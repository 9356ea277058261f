//! Wall-clock text forms that the API and the log lines use. No calendar library: one conversion, tested against known
//! days.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as the Runtime API's deadline header has it.
pub(crate) fn unix_millis(at: SystemTime) -> u128 {
    since_epoch(at).as_millis()
}

/// `2026-11-22T00:10:00.123+0000`, the form of `LastModified`.
pub(crate) fn api_timestamp(at: SystemTime) -> String {
    format!("{}+0000", date_time(since_epoch(at)))
}

/// `2026-11-22T00:10:00.123Z`, the form of log lines.
pub(crate) fn log_timestamp(at: SystemTime) -> String {
    format!("{}Z", date_time(since_epoch(at)))
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn date_time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        elapsed.subsec_millis()
    )
}

/// Year, month and day of a day number since 1970-01-01 (proleptic Gregorian calendar, years counted from March).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_have_their_known_text() {
        let text = |seconds| api_timestamp(UNIX_EPOCH + Duration::from_millis(seconds));
        assert_eq!(text(0), "1970-01-01T00:00:00.000+0000");
        assert_eq!(text(951_782_399_999), "2000-02-28T23:59:59.999+0000");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000+0000");
        assert_eq!(text(1_795_306_205_250), "2026-11-22T00:10:05.250+0000");
    }
}
