//! Why arrivals cannot be made.

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrivalError {
    /// A value of a specification out of its range. Mend the value.
    #[error("`{field}`: {reason}")]
    Value {
        /// The key.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// A line of a trace that cannot be read. Mend the line.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A trace that cannot be used, by its file. Mend the file or the path.
    #[error("`{file}`: {reason}")]
    File {
        /// As the specification names it.
        file: String,
        /// Why, with the line where there is one.
        reason: String,
    },
}

/// A value of a specification that must be finite and above 0.
pub(super) fn above_zero(field: &'static str, value: f64) -> Result<f64, ArrivalError> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(ArrivalError::Value { field, reason: format!("must be above 0, is {value}") })
}

/// A value of a specification that must be finite and at least 0.
pub(super) fn not_negative(field: &'static str, value: f64) -> Result<f64, ArrivalError> {
    if value >= 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(ArrivalError::Value { field, reason: format!("must be at least 0, is {value}") })
}
