//! Functions of the configuration file: used in place, active at once, with one version and alias per memory size, so that
//! a local setup needs no API calls.

use super::names::is_name;
use super::{updates, validate};
use crate::clock;
use crate::config::FunctionConfig;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::registry::Alias;
use crate::sync::lock;
use crate::versions::{FunctionVersion, link_package};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Why a declared function is unusable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclareError {
    #[error("`{0}` is not a function name")]
    Name(String),
    #[error("function `{0}` is declared twice")]
    Twice(String),
    #[error("the package of function `{name}` cannot be used: {source}")]
    Package { name: String, source: std::io::Error },
    #[error("the environment of function `{0}` has reserved or malformed names, or more than 4 KB")]
    Environment(String),
    #[error("function `{name}` cannot reserve its concurrency: {minimum} units must stay unreserved")]
    Concurrency { name: String, minimum: u32 },
}

/// Declares a function of the configuration file: used in place, active at once, one version and alias `mem-<size>` for
/// every memory size.
///
/// # Errors
/// [`DeclareError`].
pub(crate) fn declare(host: &Arc<Host>, config: &FunctionConfig) -> Result<(), DeclareError> {
    if !is_name(&config.name, 64) {
        return Err(DeclareError::Name(config.name.clone()));
    }
    let environment = validate::environment(config.environment.clone())
        .map_err(|_| DeclareError::Environment(config.name.clone()))?;
    let code = link_package(&config.package_dir, &config.links, &host.code_dir, &config.name)
        .map_err(|source| DeclareError::Package { name: config.name.clone(), source })?;
    let latest = FunctionVersion {
        name: config.name.clone(),
        arn: host.arn(&config.name),
        version: "$LATEST".to_owned(),
        description: "declared in the configuration file".to_owned(),
        runtime: "provided.al2023".to_owned(),
        role: format!("arn:aws:iam::{}:role/declared", host.config.account_id),
        handler: "bootstrap".to_owned(),
        memory_mib: config.memory_mib.first().copied().unwrap_or(128),
        timeout_seconds: config.timeout_seconds,
        environment,
        architecture: config.architecture,
        ephemeral_storage_mib: 512,
        code: Arc::new(code),
        last_modified: clock::api_timestamp(SystemTime::now()),
        revision_id: host.ids.next_uuid(),
    };
    let account = host.ledger.open(&latest);
    let fleet = Fleet::new(latest.clone(), account);
    let function = host
        .registry
        .insert(fleet, Duration::ZERO)
        .ok_or_else(|| DeclareError::Twice(config.name.clone()))?;
    function.with(|state| {
        for memory_mib in &config.memory_mib {
            let version = FunctionVersion { memory_mib: *memory_mib, ..latest.clone() };
            let published = updates::add_version(host, state, version);
            let name = format!("mem-{memory_mib}");
            let alias = Alias {
                name: name.clone(),
                version: published.version.version.clone(),
                description: String::new(),
                weights: BTreeMap::new(),
                revision_id: host.ids.next_uuid(),
            };
            state.aliases.insert(name, alias);
        }
    });
    if let Some(reserved) = config.reserved_concurrency {
        let reserve = lock(&host.limits).reserve(&config.name, Some(reserved), Instant::now());
        reserve.map_err(|minimum| DeclareError::Concurrency { name: config.name.clone(), minimum })?;
    }
    Ok(())
}
