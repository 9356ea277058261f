//! Why a profile cannot be used.

/// What is wrong, and where. The caller names the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A TOML profile that cannot be read, or a value out of its range. Mend the line.
    #[error("line {line}, `{field}`: {reason}")]
    Toml {
        /// From 1.
        line: usize,
        /// The key or table of that line.
        field: String,
        /// Why.
        reason: String,
    },
    /// A line of a sweep or table that cannot be read. Mend the line.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// Too little was measured to fit anything. Measure more.
    #[error("{found} measured places are too few, {needed} are needed")]
    TooFew {
        /// Places that were there.
        found: usize,
        /// Places that a fit needs.
        needed: usize,
    },
    /// A name that is no example's.
    #[error("no example is named `{name}`; there are {known}")]
    UnknownExample {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
}
