//! Aliases: names for versions, with weights.

use super::functions::find;
use super::names::check_alias;
use super::{ApiError, Call, no_content, page, reply};
use crate::host::Host;
use crate::http_io::Answer;
use crate::registry::{Alias, Function, FunctionState};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `AliasRoutingConfiguration`.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Routing {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

/// `CreateAliasRequest` and `UpdateAliasRequest`.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct AliasRequest {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<Routing>,
    revision_id: Option<String>,
}

/// `CreateAlias`.
pub(super) fn create(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let request: AliasRequest = call.parse()?;
    let (_, function) = find(host, call)?;
    let name = request.name.unwrap_or_default();
    check_alias(&name)?;
    let version = request
        .function_version
        .ok_or_else(|| ApiError::invalid_parameter("FunctionVersion is mandatory."))?;
    let body = function.with(|state| {
        if state.aliases.contains_key(&name) {
            return Err(ApiError::conflict(format!("Alias already exists: {}:{name}", function.arn)));
        }
        let weights =
            request.routing_config.unwrap_or_default().additional_version_weights.unwrap_or_default();
        check_target(&function, state, &version, &weights)?;
        let description = request.description.unwrap_or_default();
        let alias =
            Alias { name: name.clone(), version, description, weights, revision_id: host.ids.next_uuid() };
        let body = shown(&function, &alias);
        state.aliases.insert(name, alias);
        Ok(body)
    })?;
    reply(StatusCode::CREATED, &body)
}

/// `GetAlias`.
pub(super) fn get(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (_, function) = find(host, call)?;
    let body = function.with(|state| state.aliases.get(&call.element).map(|alias| shown(&function, alias)));
    reply(StatusCode::OK, &body.ok_or_else(|| missing(&function, &call.element))?)
}

/// `UpdateAlias`.
pub(super) fn update(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let request: AliasRequest = call.parse()?;
    let (_, function) = find(host, call)?;
    let body = function.with(|state| {
        let mut alias =
            state.aliases.get(&call.element).cloned().ok_or_else(|| missing(&function, &call.element))?;
        if request.revision_id.is_some_and(|revision| revision != alias.revision_id) {
            return Err(ApiError::revision_mismatch());
        }
        alias.version = request.function_version.unwrap_or(alias.version);
        alias.description = request.description.unwrap_or(alias.description);
        if let Some(routing) = request.routing_config {
            alias.weights = routing.additional_version_weights.unwrap_or_default();
        }
        check_target(&function, state, &alias.version, &alias.weights)?;
        alias.revision_id = host.ids.next_uuid();
        let body = shown(&function, &alias);
        state.aliases.insert(call.element.clone(), alias);
        Ok(body)
    })?;
    reply(StatusCode::OK, &body)
}

/// `DeleteAlias`; an alias that does not exist is no error, as on the service.
pub(super) fn delete(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (_, function) = find(host, call)?;
    function.with(|state| state.aliases.remove(&call.element));
    no_content()
}

/// `ListAliases`.
pub(super) fn list(host: &Arc<Host>, call: &Call) -> Result<Answer, ApiError> {
    let (_, function) = find(host, call)?;
    let version = call.query("FunctionVersion");
    let all: Vec<Value> = function.with(|state| {
        let wanted = |alias: &&Alias| version.as_deref().is_none_or(|version| alias.uses(version));
        state.aliases.values().filter(wanted).map(|alias| shown(&function, alias)).collect()
    });
    let (aliases, marker) = page(call, all);
    reply(StatusCode::OK, &json!({ "Aliases": aliases, "NextMarker": marker }))
}

/// Checks that the versions exist and the weights make sense.
fn check_target(
    function: &Function,
    state: &FunctionState,
    version: &str,
    weights: &BTreeMap<String, f64>,
) -> Result<(), ApiError> {
    for target in std::iter::once(version).chain(weights.keys().map(String::as_str)) {
        if target != "$LATEST" && state.version(target).is_none() {
            return Err(ApiError::function_not_found(&format!("{}:{target}", function.arn)));
        }
    }
    if weights.len() > 1 {
        return Err(ApiError::invalid_parameter(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    if let Some(weight) = weights.values().find(|weight| !(0.0..=1.0).contains(*weight)) {
        return Err(ApiError::validation(
            weight,
            "routingConfig.additionalVersionWeights",
            "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0]",
        ));
    }
    if !weights.is_empty() && (version == "$LATEST" || weights.contains_key("$LATEST")) {
        return Err(ApiError::invalid_parameter(
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ));
    }
    if weights.contains_key(version) {
        return Err(ApiError::invalid_parameter(format!(
            "Invalid function version {version}. Function version {version} is already included in routing configuration."
        )));
    }
    Ok(())
}

fn missing(function: &Function, alias: &str) -> ApiError {
    ApiError::alias_not_found(&format!("{}:{alias}", function.arn))
}

fn shown(function: &Function, alias: &Alias) -> Value {
    let mut body = json!({
        "AliasArn": format!("{}:{}", function.arn, alias.name),
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if !alias.weights.is_empty() {
        body["RoutingConfig"] = json!({ "AdditionalVersionWeights": alias.weights });
    }
    body
}
