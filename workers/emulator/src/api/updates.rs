//! Changes of `$LATEST`, and publishing it. Updates are asynchronous: the old state serves until they are over, and a
//! second change meanwhile is a conflict.

use super::functions::{Environment, EphemeralStorage, find, package, shown};
use super::{ApiError, Call, reply, validate};
use crate::clock;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::http_io::Answer;
use crate::registry::{Function, FunctionState};
use crate::versions::FunctionVersion;
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// `UpdateFunctionConfigurationRequest`; members that change nothing here are accepted and ignored.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigurationRequest {
    role: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    environment: Option<Environment>,
    runtime: Option<String>,
    revision_id: Option<String>,
    ephemeral_storage: Option<EphemeralStorage>,
}

/// `UpdateFunctionCodeRequest`.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct CodeRequest {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    image_uri: Option<String>,
    publish: bool,
    dry_run: bool,
    revision_id: Option<String>,
    architectures: Option<Vec<String>>,
}

/// `PublishVersionRequest`.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct PublishRequest {
    #[serde(rename = "CodeSha256")]
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
}

/// The function of a call that changes `$LATEST`: a qualifier is refused.
fn find_latest(host: &Host, call: &Call) -> Result<Arc<Function>, ApiError> {
    let (reference, function) = find(host, call)?;
    match reference.qualifier.as_deref() {
        None | Some("$LATEST") => Ok(function),
        Some(_) => Err(ApiError::invalid_parameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.",
        )),
    }
}

/// Replaces `$LATEST` by what `change` makes of it, under the state's lock.
fn change_latest(
    host: &Host,
    function: &Function,
    revision_id: Option<&str>,
    publish: bool,
    change: impl FnOnce(&mut FunctionVersion) -> Result<(), ApiError>,
) -> Result<Answer, ApiError> {
    let delay = Duration::from_millis(host.config.lifecycle.update_delay_ms);
    let body = function.with(|state| {
        state.check_change(&function.arn, revision_id)?;
        let mut version = state.latest.version.clone();
        change(&mut version)?;
        version.last_modified = clock::api_timestamp(SystemTime::now());
        version.revision_id = host.ids.next_uuid();
        let account = host.ledger.open(&version);
        state.replace_latest(Fleet::new(version, account), delay);
        Ok(match publish {
            true => shown(&publish_now(host, state, None).version, state, true),
            false => shown(&state.latest.version, state, false),
        })
    })?;
    reply(StatusCode::OK, &body)
}

/// `UpdateFunctionConfiguration`.
pub(super) fn configuration(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let request: ConfigurationRequest = call.parse()?;
    let function = find_latest(host, call)?;
    change_latest(host, &function, request.revision_id.as_deref(), false, |version| {
        if let Some(memory) = request.memory_size {
            version.memory_mib = validate::memory(memory, host.config.limits.memory_ceiling_mib)?;
        }
        if let Some(timeout) = request.timeout {
            version.timeout_seconds = validate::timeout(timeout)?;
        }
        if let Some(environment) = request.environment {
            version.environment = validate::environment(environment.variables)?;
        }
        if let Some(runtime) = &request.runtime {
            version.runtime = validate::runtime(Some(runtime))?;
        }
        if let Some(role) = &request.role {
            version.role = validate::role(Some(role))?;
        }
        if let Some(storage) = &request.ephemeral_storage {
            version.ephemeral_storage_mib = validate::ephemeral_storage(storage.size)?;
        }
        version.handler = request.handler.unwrap_or_else(|| version.handler.clone());
        version.description = request.description.unwrap_or_else(|| version.description.clone());
        Ok(())
    })
}

/// `UpdateFunctionCode`.
pub(super) fn code(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let request: CodeRequest = call.parse()?;
    let function = find_latest(host, call)?;
    function.with(|state| state.check_change(&function.arn, request.revision_id.as_deref()))?;
    let code =
        package(host, request.zip_file.as_deref(), request.s3_bucket.is_some(), request.image_uri.is_some())?;
    let architecture =
        request.architectures.as_deref().map(|values| validate::architecture(Some(values))).transpose()?;
    let apply = |version: &mut FunctionVersion| {
        version.code = Arc::clone(&code);
        version.architecture = architecture.unwrap_or(version.architecture);
        Ok(())
    };
    if request.dry_run {
        let body = function.with(|state| {
            let mut version = state.latest.version.clone();
            apply(&mut version)?;
            Ok(shown(&version, state, false))
        })?;
        return reply(StatusCode::OK, &body);
    }
    change_latest(host, &function, request.revision_id.as_deref(), request.publish, apply)
}

/// `PublishVersion`.
pub(super) fn publish(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let request: PublishRequest = call.parse()?;
    let function = find_latest(host, call)?;
    let body = function.with(|state| {
        state.check_change(&function.arn, request.revision_id.as_deref())?;
        let latest = &state.latest.version;
        if let Some(expected) = request.code_sha256.as_deref().filter(|expected| *expected != latest.code.sha256) {
            return Err(ApiError::invalid_parameter(format!(
                "CodeSHA256 ({expected}) is different from current CodeSHA256 in $LATEST ({}). Please try again with the CodeSHA256 in $LATEST.",
                latest.code.sha256
            )));
        }
        let fleet = publish_now(host, state, request.description.as_deref());
        Ok(shown(&fleet.version, state, true))
    })?;
    reply(StatusCode::CREATED, &body)
}

/// Publishes `$LATEST`, or returns the newest version when nothing has changed since.
pub(super) fn publish_now(host: &Host, state: &mut FunctionState, description: Option<&str>) -> Arc<Fleet> {
    if let Some(newest) = state
        .versions
        .values()
        .next_back()
        .filter(|newest| state.latest.version.same_content(&newest.version))
    {
        return Arc::clone(newest);
    }
    let mut version = state.latest.version.clone();
    if let Some(description) = description.filter(|description| !description.is_empty()) {
        version.description = description.to_owned();
    }
    add_version(host, state, version)
}

/// Adds `version` under the next number.
pub(super) fn add_version(
    host: &Host,
    state: &mut FunctionState,
    mut version: FunctionVersion,
) -> Arc<Fleet> {
    let number = state.take_version_number();
    version.version = number.to_string();
    version.revision_id = host.ids.next_uuid();
    let account = host.ledger.open(&version);
    let fleet = Fleet::new(version, account);
    state.versions.insert(number, Arc::clone(&fleet));
    fleet
}
