//! `[tenants]`: for whom requests are, so that costs can be told apart.

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::telemetry::Tenants;

/// Most tenants with a label of their own: each is a series of each model.
const MOST: usize = 100;

/// Tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantsConfig {
    /// Header that names the tenant of a request, default `x-tenant`. It is believed: put what checks it in front of the gateway.
    pub header: String,
    /// Tenants whose requests and dollars are counted apart (`tenant_requests_total`, `tenant_cost_usd_total`), at most 100, each of 1 to 64 letters, digits,
    /// `-`, `_` or `.`, not beginning with `_`. All others count as `_other`. Default: none, and nothing is counted by tenant.
    pub names: Vec<String>,
}

impl Default for TenantsConfig {
    fn default() -> Self {
        Self { header: "x-tenant".to_owned(), names: Vec::new() }
    }
}

impl TenantsConfig {
    /// What the section means; `None`: nothing is counted by tenant.
    pub(super) fn tenants(&self) -> Result<Option<Tenants>, (&'static str, String)> {
        let header: HeaderName =
            self.header.parse().map_err(|_| ("header", "is not the name of a header".to_owned()))?;
        if self.names.len() > MOST {
            return Err(("names", format!("must be at most {MOST}")));
        }
        let fits = |name: &&String| {
            (1..=64).contains(&name.len())
                && !name.starts_with('_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if let Some(wrong) = self.names.iter().find(|name| !fits(name)) {
            return Err((
                "names",
                format!("`{wrong}` is not 1 to 64 letters, digits, `-`, `_` or `.`, not beginning with `_`"),
            ));
        }
        let names = self.names.iter().cloned().collect();
        Ok((!self.names.is_empty()).then_some(Tenants { header, names }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_label_or_a_header_is_named() {
        let with = |header: &str, names: &[&str]| TenantsConfig {
            header: header.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(TenantsConfig::default().tenants(), Ok(None));
        assert!(with("X-Team", &["search", "ads.eu"]).tenants().unwrap().is_some());
        assert_eq!(with("x tenant", &[]).tenants().unwrap_err().0, "header");
        for wrong in ["", "_other", "a b"] {
            assert_eq!(with("x", &[wrong]).tenants().unwrap_err().0, "names");
        }
    }
}
