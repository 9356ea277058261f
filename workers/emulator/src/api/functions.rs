//! Functions: create, get, list, delete.

use super::names::FunctionRef;
use super::{ApiError, Call, no_content, page, reply, validate};
use crate::clock;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::http_io::Answer;
use crate::registry::{Alias, Function, FunctionState};
use crate::sync::lock;
use crate::versions::{CodePackage, FunctionVersion, PackageError, unpack};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// `EnvironmentRequest` of the service model.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Environment {
    /// The variables.
    pub(super) variables: BTreeMap<String, String>,
}

/// `EphemeralStorage` of the service model.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EphemeralStorage {
    /// MiB.
    pub(super) size: i64,
}

/// `FunctionCode` of the service model.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Code {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    image_uri: Option<String>,
}

/// `CreateFunctionRequest`; members that change nothing here (tags, tracing, …) are accepted and ignored.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct CreateRequest {
    function_name: String,
    runtime: Option<String>,
    role: Option<String>,
    handler: Option<String>,
    code: Code,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    publish: bool,
    package_type: Option<String>,
    environment: Option<Environment>,
    architectures: Option<Vec<String>>,
    ephemeral_storage: Option<EphemeralStorage>,
    layers: Option<Vec<String>>,
}

/// `CreateFunction`.
pub(super) fn create(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let request: CreateRequest = call.parse()?;
    let reference = FunctionRef::parse(&request.function_name, None)?;
    let arn = host.arn(&reference.name);
    if request.package_type.as_deref().is_some_and(|kind| kind != "Zip") {
        return Err(ApiError::invalid_parameter(
            "container images are not emulated here: use PackageType Zip",
        ));
    }
    if request.layers.is_some_and(|layers| !layers.is_empty()) {
        return Err(ApiError::invalid_parameter(
            "layers are not emulated here: put everything into the package",
        ));
    }
    let handler = request.handler.clone().filter(|handler| !handler.is_empty());
    let mut version = FunctionVersion {
        name: reference.name.clone(),
        arn,
        version: "$LATEST".to_owned(),
        description: request.description.unwrap_or_default(),
        runtime: validate::runtime(request.runtime.as_deref().filter(|_| handler.is_some()))?,
        role: validate::role(request.role.as_deref())?,
        handler: handler.unwrap_or_default(),
        memory_mib: validate::memory(
            request.memory_size.unwrap_or(128),
            host.config.limits.memory_ceiling_mib,
        )?,
        timeout_seconds: validate::timeout(request.timeout.unwrap_or(3))?,
        environment: validate::environment(request.environment.unwrap_or_default().variables)?,
        architecture: validate::architecture(request.architectures.as_deref())?,
        ephemeral_storage_mib: validate::ephemeral_storage(
            request.ephemeral_storage.map_or(512, |it| it.size),
        )?,
        code: placeholder(),
        last_modified: clock::api_timestamp(SystemTime::now()),
        revision_id: host.ids.next_uuid(),
    };
    let exists = || ApiError::conflict(format!("Function already exist: {}", reference.name));
    if host.registry.get(&reference.name).is_some() {
        return Err(exists());
    }
    let code = Code { zip_file: request.code.zip_file, ..request.code };
    version.code =
        package(host, code.zip_file.as_deref(), code.s3_bucket.is_some(), code.image_uri.is_some())?;
    let delay = Duration::from_millis(host.config.lifecycle.update_delay_ms);
    let account = host.ledger.open(&version);
    let function = host.registry.insert(Fleet::new(version, account), delay).ok_or_else(exists)?;
    let body = function.with(|state| match request.publish {
        true => {
            let fleet = super::updates::publish_now(host, state, None);
            shown(&fleet.version, state, true)
        }
        false => shown(&state.latest.version, state, false),
    });
    reply(StatusCode::CREATED, &body)
}

fn placeholder() -> Arc<CodePackage> {
    Arc::new(CodePackage { folder: std::path::PathBuf::new(), sha256: String::new(), bytes: 0 })
}

/// Unpacks the code of a request.
pub(super) fn package(
    host: &Host,
    zip: Option<&str>,
    is_s3: bool,
    is_image: bool,
) -> Result<Arc<CodePackage>, ApiError> {
    let zip = zip.ok_or_else(|| match (is_s3, is_image) {
        (true, _) => {
            ApiError::invalid_parameter("code in S3 is not emulated here: pass the package as ZipFile")
        }
        (_, true) => {
            ApiError::invalid_parameter("container images are not emulated here: pass a package as ZipFile")
        }
        _ => ApiError::invalid_parameter("Please provide a source for function code."),
    })?;
    let bytes = base64_simd::STANDARD
        .decode_to_vec(zip)
        .map_err(|_| ApiError::serialization("ZipFile is not base64"))?;
    let unpacked = unpack(&bytes, &host.code_dir, &host.ids.next_uuid());
    unpacked.map(Arc::new).map_err(|error| match error {
        PackageError::NotAZip | PackageError::TooLarge => ApiError::invalid_parameter(error.to_string()),
        PackageError::Storage(_) => {
            tracing::error!(%error, "a package could not be stored");
            ApiError::scripted(500, "ServiceException")
        }
    })
}

/// A version as the API shows it, with its states: a published version is active, `$LATEST` has its update's states.
pub(super) fn shown(version: &FunctionVersion, state: &FunctionState, qualified: bool) -> Value {
    let mut object = version.configuration(qualified).to_json();
    let update = state.update_state();
    let is_pending = update.state == "Pending";
    let is_latest = version.version == "$LATEST";
    let (lifecycle, last_update) = match is_latest {
        true => (update.state, update.last_update),
        false => (if is_pending { "Pending" } else { "Active" }, "Successful"),
    };
    object.insert("State".to_owned(), lifecycle.into());
    object.insert("LastUpdateStatus".to_owned(), last_update.into());
    if is_pending {
        object.insert("StateReason".to_owned(), "The function is being created.".into());
        object.insert("StateReasonCode".to_owned(), "Creating".into());
    } else if is_latest && last_update == "InProgress" {
        object.insert("LastUpdateStatusReason".to_owned(), "The function is being created.".into());
        object.insert("LastUpdateStatusReasonCode".to_owned(), "Creating".into());
    }
    Value::Object(object)
}

/// The function of a call.
pub(super) fn find(host: &Host, call: &Call) -> Result<(FunctionRef, Arc<Function>), ApiError> {
    let reference = FunctionRef::parse(&call.function, call.query("Qualifier").as_deref())?;
    let arn = host.arn(&reference.name);
    let missing = || ApiError::function_not_found(&format!("{arn}{}", reference.arn_suffix()));
    let function = host.registry.get(&reference.name).ok_or_else(missing)?;
    Ok((reference, function))
}

/// The configuration of the call's function and qualifier.
fn configuration(host: &Host, call: &Call) -> Result<(Value, Arc<Function>), ApiError> {
    let (reference, function) = find(host, call)?;
    let missing = || ApiError::function_not_found(&format!("{}{}", function.arn, reference.arn_suffix()));
    let body = function.with(|state| match reference.qualifier.as_deref() {
        None => Ok(shown(&state.latest.version, state, false)),
        Some("$LATEST") => Ok(shown(&state.latest.version, state, true)),
        Some(qualifier) => {
            let alias = state.aliases.get(qualifier);
            let number = alias.map_or(qualifier, |alias| alias.version.as_str());
            let fleet = match number {
                "$LATEST" => Some(Arc::clone(&state.latest)),
                number => state.version(number),
            };
            let mut shown = shown(&fleet.ok_or_else(missing)?.version, state, true);
            if alias.is_some() {
                shown["FunctionArn"] = format!("{}:{qualifier}", function.arn).into();
            }
            Ok(shown)
        }
    })?;
    Ok((body, function))
}

/// `GetFunctionConfiguration`.
pub(super) fn get_configuration(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    reply(StatusCode::OK, &configuration(host, call)?.0)
}

/// `GetFunction`. The code's location is a file address on this machine.
pub(super) fn get(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (configuration, function) = configuration(host, call)?;
    let folder = function.with(|state| state.latest.version.code.folder.display().to_string());
    let mut body = json!({
        "Configuration": configuration,
        "Code": { "RepositoryType": "S3", "Location": format!("file://{folder}") },
        "Tags": {},
    });
    if let Some(reserved) = lock(&host.limits).reserved(&function.name) {
        body["Concurrency"] = json!({ "ReservedConcurrentExecutions": reserved });
    }
    reply(StatusCode::OK, &body)
}

/// `ListFunctions`.
pub(super) fn list(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let all_versions = call.query("FunctionVersion").as_deref() == Some("ALL");
    let shown: Vec<Value> = host
        .registry
        .all()
        .iter()
        .flat_map(|function| versions(function, all_versions, all_versions))
        .collect();
    let (functions, marker) = page(call, shown);
    reply(StatusCode::OK, &json!({ "Functions": functions, "NextMarker": marker }))
}

/// `ListVersionsByFunction`.
pub(super) fn list_versions(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (_, function) = find(host, call)?;
    let (versions, marker) = page(call, versions(&function, true, true));
    reply(StatusCode::OK, &json!({ "Versions": versions, "NextMarker": marker }))
}

fn versions(function: &Function, with_published: bool, qualified: bool) -> Vec<Value> {
    function.with(|state| {
        let published = state.versions.values().filter(|_| with_published);
        let all = std::iter::once(&state.latest).chain(published);
        all.map(|fleet| strip_states(shown(&fleet.version, state, qualified))).collect()
    })
}

/// Lists do not carry states.
fn strip_states(mut shown: Value) -> Value {
    if let Value::Object(object) = &mut shown {
        object.retain(|key, _| !key.starts_with("State") && !key.starts_with("LastUpdateStatus"));
    }
    shown
}

/// `DeleteFunction`: the whole function, or one version.
pub(super) fn delete(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (reference, function) = find(host, call)?;
    let Some(qualifier) = reference.qualifier.as_deref() else {
        host.registry.remove(&function.name);
        function.fleets().iter().for_each(|fleet| fleet.retire());
        // Giving units back cannot exceed any limit.
        let _ = lock(&host.limits).reserve(&function.name, None, Instant::now());
        return no_content();
    };
    if qualifier == "$LATEST" {
        return Err(ApiError::invalid_parameter(
            "$LATEST version cannot be deleted without deleting the function.",
        ));
    }
    let removed = function.with(|state| {
        if state.aliases.contains_key(qualifier) {
            return Err(ApiError::invalid_parameter(
                "Deletion of aliases is not currently supported by this operation.",
            ));
        }
        let users: Vec<&str> = state
            .aliases
            .values()
            .filter(|alias| alias.uses(qualifier))
            .map(|alias| alias.name.as_str())
            .collect();
        if !users.is_empty() {
            let message = format!(
                "Version {qualifier} is pointed to by aliases [{}]; delete or update them first.",
                users.join(", ")
            );
            return Err(ApiError::conflict(message));
        }
        Ok(qualifier.parse().ok().and_then(|number: u64| state.versions.remove(&number)))
    })?;
    if let Some(fleet) = removed {
        fleet.retire();
    }
    no_content()
}

impl Alias {
    /// Whether the alias sends anything to `version`.
    pub(super) fn uses(&self, version: &str) -> bool {
        self.version == version || self.weights.contains_key(version)
    }
}
