//! Reserved concurrency, and the account's limits.

use super::functions::find;
use super::{ApiError, Call, no_content, reply};
use crate::host::Host;
use crate::http_io::Answer;
use crate::sync::lock;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Published limit of all packages together, bytes.
const TOTAL_CODE_BYTES: u64 = 80_530_636_800;

/// Published limit of one unpacked package, bytes.
const UNPACKED_BYTES: u64 = 262_144_000;

/// Published limit of one package that is uploaded directly, bytes.
const ZIPPED_BYTES: u64 = 52_428_800;

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct PutRequest {
    reserved_concurrent_executions: Option<i64>,
}

/// `PutFunctionConcurrency`.
pub(super) fn put(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let request: PutRequest = call.parse()?;
    let (_, function) = find(host, call)?;
    let value = request.reserved_concurrent_executions.unwrap_or(0);
    let units = u32::try_from(value).map_err(|_| {
        ApiError::validation(
            value,
            "reservedConcurrentExecutions",
            "Member must have value greater than or equal to 0",
        )
    })?;
    lock(&host.limits).reserve(&function.name, Some(units), Instant::now()).map_err(|minimum| {
        ApiError::invalid_parameter(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{minimum}]."
        ))
    })?;
    reply(StatusCode::OK, &json!({ "ReservedConcurrentExecutions": units }))
}

/// `GetFunctionConcurrency`.
pub(super) fn get(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (_, function) = find(host, call)?;
    let reserved = lock(&host.limits).reserved(&function.name);
    reply(
        StatusCode::OK,
        &reserved.map_or_else(|| json!({}), |units| json!({ "ReservedConcurrentExecutions": units })),
    )
}

/// `DeleteFunctionConcurrency`.
pub(super) fn delete(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (_, function) = find(host, call)?;
    // Giving units back cannot exceed any limit.
    let _ = lock(&host.limits).reserve(&function.name, None, Instant::now());
    no_content()
}

/// `GetAccountSettings`.
pub(super) fn account_settings(host: &Arc<Host>, _call: &Call) -> Result<Answer, ApiError> {
    let functions = host.registry.all();
    let code_bytes: u64 =
        functions.iter().map(|function| function.with(|state| state.latest.version.code.bytes)).sum();
    let (total, unreserved) = {
        let limits = lock(&host.limits);
        (limits.account_concurrency(), limits.unreserved())
    };
    let body = json!({
        "AccountLimit": {
            "TotalCodeSize": TOTAL_CODE_BYTES,
            "CodeSizeUnzipped": UNPACKED_BYTES,
            "CodeSizeZipped": ZIPPED_BYTES,
            "ConcurrentExecutions": total,
            "UnreservedConcurrentExecutions": unreserved,
        },
        "AccountUsage": { "TotalCodeSize": code_bytes, "FunctionCount": functions.len() },
    });
    reply(StatusCode::OK, &body)
}
