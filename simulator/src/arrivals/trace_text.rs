//! The text of traces: counts by line or comma, or one request a line with its time.
//!
//! Deliberately absent: files and their compression; the caller reads them.

use super::ArrivalError;

/// Counts or loads, by line, by comma, or both. Empty lines and those that begin with `#` are passed over.
///
/// # Errors
/// [`ArrivalError::Line`] for a value that is no number of at least 0, and for a text without any.
pub fn parse_counts(text: &str) -> Result<Vec<f64>, ArrivalError> {
    let mut values = Vec::new();
    for (number, line) in lines(text) {
        let line_text = line.strip_suffix(',').unwrap_or(line);
        for field in line_text.split(',').map(str::trim) {
            let value = field.parse().ok().filter(|value: &f64| *value >= 0.0 && value.is_finite());
            let reason = || format!("`{}` is no count of at least 0", shortened(field));
            values.push(value.ok_or_else(|| ArrivalError::Line { line: number, reason: reason() })?);
        }
    }
    if values.is_empty() {
        return Err(ArrivalError::Line { line: 1, reason: "no count".to_owned() });
    }
    Ok(values)
}

/// Seconds of requests, the first at 0: numbers of `unit_seconds`, or dates with times. `column` is a name of the header or a number from 1; without it the
/// first column counts. A first line whose field is no time is a header.
///
/// # Errors
/// [`ArrivalError::Line`] for a time that cannot be read or lies before the one above it, for a column that is not there, for no times at all.
pub fn parse_times(text: &str, column: Option<&str>, unit_seconds: f64) -> Result<Vec<f64>, ArrivalError> {
    let mut lines = lines(text).peekable();
    let Some((first_number, first)) = lines.peek().copied() else {
        return Err(ArrivalError::Line { line: 1, reason: "no request".to_owned() });
    };
    let header: Vec<&str> = first.split(',').map(str::trim).collect();
    let by_name = column.and_then(|name| header.iter().position(|field| *field == name));
    let by_number = column.map_or(Some(0), |name| name.parse::<usize>().ok()?.checked_sub(1));
    let Some(at) = by_name.or(by_number).filter(|at| *at < header.len()) else {
        let reason = format!("no column `{}`; there are {}", column.unwrap_or_default(), header.join(", "));
        return Err(ArrivalError::Line { line: first_number, reason });
    };
    if by_name.is_some() || seconds(header[at], unit_seconds).is_none() {
        lines.next();
    }
    let (mut times, mut first_s) = (Vec::new(), None);
    for (number, line) in lines {
        let field = line.split(',').nth(at).map_or("", str::trim);
        let fail = |reason: String| ArrivalError::Line { line: number, reason };
        let unread = || fail(format!("`{}` is no time", shortened(field)));
        let time = seconds(field, unit_seconds).ok_or_else(unread)?;
        let time = time - *first_s.get_or_insert(time);
        if times.last().is_some_and(|before| time < *before) {
            return Err(fail(format!("`{}` lies before the time above it", shortened(field))));
        }
        times.push(time);
    }
    if times.is_empty() {
        return Err(ArrivalError::Line { line: first_number, reason: "no request".to_owned() });
    }
    Ok(times)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn shortened(field: &str) -> String {
    let mut text: String = field.chars().take(40).collect();
    if text.len() < field.len() {
        text.push('…');
    }
    text
}

/// A number of units, or a date with time as seconds since 1970.
fn seconds(field: &str, unit_seconds: f64) -> Option<f64> {
    let field = field.trim_matches('"');
    match field.parse::<f64>() {
        Ok(value) => Some(value * unit_seconds).filter(|value| value.is_finite()),
        Err(_) => date_time(field),
    }
}

/// `2023-11-16 18:15:46.68`, also with `T` and `Z`. Time zones other than UTC are not read.
fn date_time(field: &str) -> Option<f64> {
    let (date, time) = field.trim_end_matches('Z').split_once([' ', 'T'])?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':');
    let hour: i64 = time.next()?.parse().ok()?;
    let minute: i64 = time.next()?.parse().ok()?;
    let second: f64 = time.next()?.parse().ok()?;
    let is_valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&second)
        && time.next().is_none();
    is_valid.then(|| (days(year, month, day) * 86_400 + hour * 3600 + minute * 60) as f64 + second)
}

/// Days since 1970 of the Gregorian calendar, its years counted from March.
/// Reference: Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_by_line_or_comma() {
        assert_eq!(parse_counts("50\n50 \n\n# noon\n5.70\n").unwrap(), [50.0, 50.0, 5.7]);
        assert_eq!(parse_counts("467,483, 475,\n").unwrap(), [467.0, 483.0, 475.0]);
    }

    #[test]
    fn bad_counts_name_their_line() {
        let error = |text: &str| parse_counts(text).unwrap_err().to_string();
        assert_eq!(error("1\n\ntwo\n"), "line 3: `two` is no count of at least 0");
        assert_eq!(error("1\n-4\n"), "line 2: `-4` is no count of at least 0");
        assert_eq!(error("1,,2\n"), "line 1: `` is no count of at least 0");
        assert!(error("1\nNaN").starts_with("line 2"));
        assert_eq!(error("# nothing\n"), "line 1: no count");
    }

    #[test]
    fn times_are_dates_or_numbers_and_begin_at_zero() {
        let text = "TIMESTAMP,Tokens\n2023-11-16 18:15:46.5,374\n2023-11-16 18:15:50.75,396\n2023-11-17 00:00:00,1\n";
        assert_eq!(parse_times(text, Some("TIMESTAMP"), 1.0).unwrap(), [0.0, 4.25, 20_653.5]);
        assert_eq!(parse_times("1500\n1750\n", None, 1e-3).unwrap(), [0.0, 0.25]);
        assert_eq!(parse_times("a,5\nb,6\n", Some("2"), 1.0).unwrap(), [0.0, 1.0]);
        assert_eq!((days(1970, 1, 1), days(2000, 2, 29), days(2023, 11, 16)), (0, 11_016, 19_677));
    }

    #[test]
    fn bad_times_name_their_line() {
        let error = |text: &str, column| parse_times(text, column, 1.0).unwrap_err().to_string();
        assert_eq!(error("t\n5\n4\n", Some("t")), "line 3: `4` lies before the time above it");
        assert_eq!(error("t\n5\nx\n", Some("t")), "line 3: `x` is no time");
        assert_eq!(error("t,u\n1,2\n", Some("v")), "line 1: no column `v`; there are t, u");
        assert_eq!(error("t\n2023-13-16 18:15:46\n", None), "line 2: `2023-13-16 18:15:46` is no time");
        assert_eq!(error("t\n", Some("t")), "line 1: no request");
    }
}
