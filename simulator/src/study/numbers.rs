//! Numbers of a study's file, checked where they are read, so that the parser knows the line.

use serde::{Deserialize, Deserializer, de};

fn checked<'de, D: Deserializer<'de>>(from: D, holds: fn(f64) -> bool, must: &str) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if value.is_finite() && holds(value) {
        return Ok(value);
    }
    Err(de::Error::custom(format!("must be {must}, is {value}")))
}

/// Above 0.
pub(super) fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(from, |value| value > 0.0, "above 0")
}

/// Above 0, where it is given.
pub(super) fn maybe_positive<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    positive(from).map(Some)
}

/// 0 or more.
pub(super) fn not_negative<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(from, |value| value >= 0.0, "0 or more")
}

/// 0 or more, where it is given.
pub(super) fn maybe_not_negative<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    not_negative(from).map(Some)
}

/// A share of requests that can be promised.
pub(super) fn percentile<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(from, |value| (0.5..=0.9999).contains(&value), "between 0.5 and 0.9999")
}

/// Above 0 and at most 1.
pub(super) fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(from, |value| value > 0.0 && value <= 1.0, "above 0 and at most 1")
}

/// 1 or more.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        0 => Err(de::Error::custom("must be at least 1, is 0")),
        value => Ok(value),
    }
}

/// Numbers above 0, ascending, at least one.
pub(super) fn ascending<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<f64>::deserialize(from)?;
    let holds = values.iter().all(|value| value.is_finite() && *value > 0.0);
    if holds && !values.is_empty() && values.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(values);
    }
    Err(de::Error::custom("must be a list of numbers above 0, ascending"))
}

/// Memory sizes that Lambda has, ascending, at least one.
pub(super) fn memory_sizes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    let values = Vec::<u32>::deserialize(from)?;
    let holds = values.iter().all(|value| (128..=10_240).contains(value));
    if holds && !values.is_empty() && values.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(values);
    }
    Err(de::Error::custom("must be a list of sizes from 128 to 10240, ascending"))
}
