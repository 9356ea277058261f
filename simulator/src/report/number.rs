//! Numbers as people read them.

/// A plain number with as many digits as it needs: `1,200`, `12.5`, `0.034`.
#[must_use]
pub fn plain(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if size < 1e-12 => return "0".to_owned(),
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        0.01.. => 4,
        _ => return trimmed(format!("{value:.6}")),
    };
    grouped(&trimmed(format!("{value:.digits$}")))
}

/// Dollars.
#[must_use]
pub fn dollars(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    let size = value.abs();
    let text = match size {
        1000.0.. => grouped(&format!("{size:.0}")),
        _ if (size - size.round()).abs() < 1e-9 => format!("{size:.0}"),
        1.0.. => format!("{size:.2}"),
        0.1.. => trimmed(format!("{size:.3}")),
        0.01.. => trimmed(format!("{size:.4}")),
        _ => trimmed(format!("{size:.6}")),
    };
    format!("{sign}${text}")
}

/// A share as a percentage.
#[must_use]
pub fn percent(share: f64) -> String {
    let sign = if share < 0.0 { "−" } else { "" };
    let value = share.abs() * 100.0;
    let digits = match value {
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{sign}{} %", trimmed(format!("{value:.digits$}")))
}

/// A share as a percentage with two digits after the point: for spreads.
#[must_use]
pub fn about_percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Milliseconds, as seconds from 10,000 on.
#[must_use]
pub fn milliseconds(value: f64) -> String {
    if value >= 10_000.0 { format!("{} s", plain(value / 1e3)) } else { format!("{} ms", plain(value)) }
}

/// A length of time.
#[must_use]
pub fn duration(seconds: f64) -> String {
    match seconds {
        172_800.0.. => format!("{} days", plain(seconds / 86_400.0)),
        7_200.0.. => format!("{} hours", plain(seconds / 3_600.0)),
        120.0.. => format!("{} minutes", plain(seconds / 60.0)),
        _ => format!("{} seconds", plain(seconds)),
    }
}

/// Without zeros at the end of its fraction.
fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// With a comma at each thousand.
fn grouped(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("−", digits));
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    fraction.map_or(out.clone(), |fraction| format!("{out}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_the_digits_that_matter() {
        assert_eq!(plain(1234.5), "1,234");
        assert_eq!(plain(12.50), "12.5");
        assert_eq!(plain(0.0345), "0.0345");
        assert_eq!(plain(-2.0), "−2");
        assert_eq!(plain(0.0), "0");
        assert_eq!(dollars(12_345.6), "$12,346");
        assert_eq!(dollars(0.0345), "$0.0345");
        assert_eq!(dollars(2.5), "$2.50");
        assert_eq!(dollars(-3.0), "−$3");
        assert_eq!(percent(0.994), "99.4 %");
        assert_eq!(percent(0.0004), "0.04 %");
        assert_eq!(percent(-0.0842), "−8.42 %");
        assert_eq!(duration(7_200.0), "2 hours");
        assert_eq!(milliseconds(12_000.0), "12 s");
    }
}
