//! Pages of lists: `limit`, `after`, and the object that holds a page.

use axum::http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::RouteError;

/// What a list was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) after: Option<String>,
    limit: Option<u32>,
    order: Option<String>,
    /// Of files only.
    pub(super) purpose: Option<String>,
}

impl Page {
    pub(super) fn of(uri: &Uri) -> Result<Self, RouteError> {
        let page = axum::extract::Query::<Self>::try_from_uri(uri)
            .map_err(|error| RouteError::invalid("query", error.body_text()))?;
        if page.0.order.as_deref().is_some_and(|order| order != "desc") {
            return Err(RouteError::invalid("order", "`order` must be `desc`: the newest come first"));
        }
        Ok(page.0)
    }

    pub(super) fn limit(&self, default: u32, most: u32) -> Result<u32, RouteError> {
        let limit = self.limit.unwrap_or(default);
        if (1..=most).contains(&limit) {
            return Ok(limit);
        }
        Err(RouteError::invalid("limit", format!("`limit` must be 1 to {most}")))
    }
}

/// The list object of a page; `entries` holds one more than `limit` if there are more.
pub(super) fn list(mut entries: Vec<Value>, limit: u32) -> Value {
    let has_more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
    let (first_id, last_id) = (id(entries.first()), id(entries.last()));
    json!({ "object": "list", "data": entries, "first_id": first_id, "last_id": last_id, "has_more": has_more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_whether_there_are_more() {
        let entries = |count: u32| (0..count).map(|id| json!({ "id": id })).collect();
        let page = list(entries(3), 2);
        assert_eq!(
            (&page["has_more"], &page["first_id"], &page["last_id"]),
            (&json!(true), &json!(0), &json!(1))
        );
        assert_eq!(page["data"].as_array().unwrap().len(), 2);
        let page = list(entries(0), 2);
        assert_eq!((&page["has_more"], &page["last_id"]), (&json!(false), &Value::Null));
    }

    #[test]
    fn limits_and_orders_out_of_range_are_refused() {
        let of = |query: &str| Page::of(&format!("/v1/batches?{query}").parse().unwrap());
        assert_eq!(of("limit=5&after=x").unwrap().limit(20, 100).unwrap(), 5);
        assert_eq!(of("").unwrap().limit(20, 100).unwrap(), 20);
        assert!(of("limit=0").unwrap().limit(20, 100).is_err());
        assert!(of("limit=101").unwrap().limit(20, 100).is_err());
        assert!(of("limit=x").is_err() && of("order=asc").is_err() && of("before=x").is_err());
    }
}
