//! Comparing two configurations: what needs a restart, and a short name for each.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Config;
use super::origins::leaves;

/// Sections whose values are fixed when the process starts.
const RESTART_SECTIONS: &[&str] = &["listen", "limits", "aws", "log", "traces", "tenants", "state", "bulk"];

/// Keys that differ and take effect only after a restart, dotted.
#[must_use]
pub fn changed_restart_keys(before: &Config, after: &Config) -> Vec<String> {
    let fixed = |config: &Config| -> std::collections::BTreeMap<String, String> {
        let all = leaves(config).into_iter();
        all.filter(|(path, _)| {
            path.first().is_some_and(|section| RESTART_SECTIONS.contains(&section.as_str()))
        })
        .map(|(path, value)| (path.join("."), value.to_string()))
        .collect()
    };
    let (before, after) = (fixed(before), fixed(after));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|&key| before.get(key) != after.get(key)).cloned().collect()
}

/// The first 16 hexadecimal digits of the SHA-256 of all values in force.
#[must_use]
pub fn config_hash(config: &Config) -> String {
    let mut digest = Sha256::new();
    for (path, value) in leaves(config) {
        digest.update(format!("{} = {value}\n", path.join(".")));
    }
    digest.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
