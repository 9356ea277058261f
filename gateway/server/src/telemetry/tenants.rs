//! Whom a request is for, as a label of what it costs. The names come from the configuration, so that callers cannot make series.
//!
//! Deliberately absent: quotas and isolation. A batch carries items of all tenants.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName};

/// Requests that name no known tenant.
const OTHER: &str = "_other";

/// Which header names a tenant, and which tenants there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants {
    /// The header.
    pub header: HeaderName,
    /// The tenants that get a label of their own.
    pub names: BTreeSet<String>,
}

impl Tenants {
    /// The label of a request.
    pub(super) fn label(&self, headers: &HeaderMap) -> &str {
        let name = headers.get(&self.header).and_then(|value| value.to_str().ok());
        name.and_then(|name| self.names.get(name)).map_or(OTHER, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_names_are_labels() {
        let tenants =
            Tenants { header: HeaderName::from_static("x-tenant"), names: ["search".to_owned()].into() };
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-tenant", http::HeaderValue::from_static(value));
            tenants.label(&headers).to_owned()
        };
        assert_eq!(of("search"), "search");
        assert_eq!(of("Search"), OTHER);
        assert_eq!(tenants.label(&HeaderMap::new()), OTHER);
    }
}
