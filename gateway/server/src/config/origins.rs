//! Where each value comes from, and the listing that shows it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::diagnostics::position;
use super::{Config, Loaded};

/// Where a value comes from, if it is not a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file.
    File {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    CommandLine,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { line, .. } => write!(f, "file, line {line}"),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// Position of every key of the file, sections included, by dotted name.
pub(super) fn file_origins(text: &str) -> BTreeMap<String, Origin> {
    let mut origins = BTreeMap::new();
    if let Ok(table) = DeTable::parse(text) {
        collect(text, "", table.get_ref(), &mut origins);
    }
    origins
}

fn collect(text: &str, prefix: &str, table: &DeTable<'_>, origins: &mut BTreeMap<String, Origin>) {
    for (key, value) in table {
        let name =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let (line, column) = position(text, key.span().start);
        if let DeValue::Table(inner) = value.get_ref() {
            collect(text, &name, inner, origins);
        }
        origins.insert(name, Origin::File { line, column });
    }
}

/// The values in force as TOML, one dotted key a line, each with its origin. `all`: defaults too.
#[must_use]
pub fn print_effective(loaded: &Loaded, all: bool) -> String {
    let mut text = String::new();
    for (path, value) in leaves(&loaded.config) {
        let origin = loaded.origins.get(&path.join("."));
        if origin.is_none() && !all {
            continue;
        }
        let key = path.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
        let origin = origin.map_or_else(|| "default".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{key} = {value} # {origin}");
    }
    text
}

/// Every value with its path. Empty for a configuration that TOML cannot hold, which validated ones are not.
pub(super) fn leaves(config: &Config) -> Vec<(Vec<String>, Value)> {
    let mut out = Vec::new();
    if let Ok(value) = Value::try_from(config) {
        walk(&mut Vec::new(), value, &mut out);
    }
    out
}

fn walk(path: &mut Vec<String>, value: Value, out: &mut Vec<(Vec<String>, Value)>) {
    if let Value::Table(table) = value {
        for (key, inner) in table {
            path.push(key);
            walk(path, inner, out);
            path.pop();
        }
    } else {
        out.push((path.clone(), value));
    }
}

fn quoted(key: &str) -> String {
    let bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}
