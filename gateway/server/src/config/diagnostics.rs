//! What can be wrong with a configuration, said with its place and, for a misspelt key, the nearest name.

use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// One or more problems in it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

/// One problem and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File, environment variable or command-line setting.
    pub place: String,
    /// Line and column in the file, both from 1.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Line and column, from 1, of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (before.iter().filter(|&&byte| byte == b'\n').count() + 1, column)
}

/// The parser's text, with the nearest name instead of the list of all names when a key is unknown.
pub(super) fn explain(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let kind = ["unknown field `", "unknown variant `"].into_iter().find(|kind| message.starts_with(kind));
    let (Some(kind), Some(given)) = (kind, names.next()) else {
        return message.to_owned();
    };
    let what = if kind.contains("field") { "key" } else { "value" };
    let known: Vec<&str> = names.collect();
    match nearest(given, &known) {
        Some(name) => format!("unknown {what} `{given}`; did you mean `{name}`?"),
        None => format!("unknown {what} `{given}`; known: {}", known.join(", ")),
    }
}

/// The known name that a misspelt one most likely stands for.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    /// Jaro-Winkler similarity below which two names are taken for unrelated.
    const SIMILAR: f64 = 0.75;
    let scored = known.iter().map(|&name| (strsim::jaro_winkler(given, name), name));
    scored.filter(|&(score, _)| score >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        assert_eq!(position("a = 1\nü = 2", 0), (1, 1));
        assert_eq!(position("a = 1\nü = 2", 9), (2, 3));
    }

    #[test]
    fn a_misspelt_key_gets_the_nearest_name() {
        let text = "unknown field `max_batchsize`, expected one of `packing`, `max_batch_size`, `rungs`";
        assert_eq!(explain(text), "unknown key `max_batchsize`; did you mean `max_batch_size`?");
        assert_eq!(explain("unknown field `zzz`, expected `a` or `b`"), "unknown key `zzz`; known: a, b");
        assert_eq!(explain("invalid type: string"), "invalid type: string");
    }
}
