//! `GET /openapi.json`: what both listeners serve, as an OpenAPI 3.1 document.
//!
//! The document is `docs/openapi.json`, written by hand and compiled in. Deliberately absent: anything that makes it from code; that it says what
//! is so is a matter of tests.

use axum::http::header;
use axum::response::IntoResponse;

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// `GET /openapi.json`
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
