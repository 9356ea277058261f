//! `/v1/files` and `/v1/batches` over their router, with real files, a real database and an instant function.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test binary has no readers outside")]

mod batches;
mod files;
mod operator;
mod support;
