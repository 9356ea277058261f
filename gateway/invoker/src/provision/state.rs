//! What a function has: `$LATEST`, published versions, aliases. Values only; [`super::Provisioner::state`] reads them.

use std::collections::BTreeMap;

use aws_sdk_lambda::types::{AliasConfiguration, FunctionConfiguration};
use gateway_contract::Mebibytes;

/// A function as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionState {
    /// Name or ARN, as configured.
    pub function: String,
    /// Memory of `$LATEST`.
    pub latest_memory: Mebibytes,
    /// What `$LATEST` runs.
    pub latest: Content,
    /// Published versions, oldest first.
    pub versions: Vec<PublishedVersion>,
    /// Aliases by name.
    pub aliases: BTreeMap<String, AliasState>,
    /// Reserved concurrency; `None`: none, or it may not be read.
    pub reserved_concurrency: Option<u32>,
}

/// A published version.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedVersion {
    /// Its number.
    pub version: u64,
    /// Its memory.
    pub memory: Mebibytes,
    /// What it runs.
    pub content: Content,
    /// Its description.
    pub description: String,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasState {
    /// Version that it points to; not a number for `$LATEST`.
    pub version: String,
    /// Other versions that get a share of its traffic.
    pub weighted: Vec<String>,
    /// For changes: AWS refuses those that were made to another revision.
    pub revision_id: Option<String>,
}

/// Everything but memory that makes two versions behave alike. Compared, never shown: it holds the environment.
#[derive(Clone, Default, PartialEq)]
pub struct Content {
    /// SHA-256 of the package, base64.
    pub code_sha256: String,
    runtime: Option<String>,
    role: Option<String>,
    handler: Option<String>,
    timeout_seconds: Option<i32>,
    environment: BTreeMap<String, String>,
    architectures: Vec<String>,
    ephemeral_storage_mib: Option<i32>,
    layers: Vec<String>,
    subnets: Vec<String>,
    security_groups: Vec<String>,
    key: Option<String>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Content").field("code_sha256", &self.code_sha256).finish_non_exhaustive()
    }
}

impl Content {
    /// AWS's names of the processor architectures.
    #[must_use]
    pub fn architectures(&self) -> &[String] {
        &self.architectures
    }

    /// After which Lambda ends an invocation.
    #[must_use]
    pub fn timeout_seconds(&self) -> Option<u32> {
        self.timeout_seconds.and_then(|seconds| u32::try_from(seconds).ok())
    }

    /// From a list of versions, the one call that shows `$LATEST` and versions in the same form.
    pub(super) fn of(configuration: &FunctionConfiguration) -> Self {
        let sorted = |values: &[String]| {
            let mut values = values.to_vec();
            values.sort();
            values
        };
        let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let vpc = configuration.vpc_config();
        Self {
            code_sha256: configuration.code_sha256().unwrap_or_default().to_owned(),
            runtime: configuration.runtime().map(|runtime| runtime.as_str().to_owned()),
            role: owned(configuration.role()),
            handler: owned(configuration.handler()),
            timeout_seconds: configuration.timeout(),
            environment: configuration
                .environment()
                .and_then(|environment| environment.variables())
                .map(|variables| variables.clone().into_iter().collect())
                .unwrap_or_default(),
            architectures: configuration.architectures().iter().map(|it| it.as_str().to_owned()).collect(),
            ephemeral_storage_mib: configuration.ephemeral_storage().map(|storage| storage.size()),
            layers: configuration.layers().iter().filter_map(|layer| owned(layer.arn())).collect(),
            subnets: vpc.map(|vpc| sorted(vpc.subnet_ids())).unwrap_or_default(),
            security_groups: vpc.map(|vpc| sorted(vpc.security_group_ids())).unwrap_or_default(),
            key: owned(configuration.kms_key_arn()),
        }
    }
}

impl PublishedVersion {
    /// `None` for `$LATEST`, and for anything that is not as AWS documents it.
    pub(super) fn of(configuration: &FunctionConfiguration) -> Option<Self> {
        Some(Self {
            version: configuration.version()?.parse().ok()?,
            memory: mebibytes(configuration.memory_size())?,
            content: Content::of(configuration),
            description: configuration.description().unwrap_or_default().to_owned(),
        })
    }
}

impl AliasState {
    /// From what AWS shows.
    pub(super) fn of(alias: &AliasConfiguration) -> Self {
        let weights = alias.routing_config().and_then(|routing| routing.additional_version_weights());
        let mut weighted: Vec<String> =
            weights.map(|weights| weights.keys().cloned().collect()).unwrap_or_default();
        weighted.sort();
        Self {
            version: alias.function_version().unwrap_or_default().to_owned(),
            weighted,
            revision_id: alias.revision_id().map(str::to_owned),
        }
    }

    /// Whether any of its traffic goes to `version`.
    #[must_use]
    pub fn uses(&self, version: u64) -> bool {
        let version = version.to_string();
        self.version == version || self.weighted.contains(&version)
    }
}

/// AWS's signed number, where it is one that memory can have.
pub(super) fn mebibytes(value: Option<i32>) -> Option<Mebibytes> {
    value.and_then(|value| u32::try_from(value).ok()).map(Mebibytes)
}
