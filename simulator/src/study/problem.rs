//! What is wrong with a study or with a file that it names.

/// A file that cannot be used: which, where, why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {reason}", .file, .line.map_or(String::new(), |line| format!(":{line}")))]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// From 1; `None`: the whole file.
    pub line: Option<usize>,
    /// Why.
    pub reason: String,
}

impl Problem {
    /// About a whole file.
    pub(super) fn whole(file: &str, reason: impl ToString) -> Self {
        Self { file: file.to_owned(), line: None, reason: reason.to_string() }
    }

    /// What the TOML parser says, with its line.
    pub(super) fn toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        let line = text.lines().nth(before).unwrap_or_default().trim();
        let key = line.split_once('=').map_or(line, |(key, _)| key.trim());
        let reason = error.message();
        let reason = if key.is_empty() { reason.to_owned() } else { format!("`{key}`: {reason}") };
        Self { file: file.to_owned(), line: Some(before + 1), reason }
    }
}
