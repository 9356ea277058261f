//! The configuration calls, each tried again within [`Patience`] where that helps. Deliberately absent: what to call when.

use std::error::Error as StdError;
use std::future::Future;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::get_account_settings::GetAccountSettingsOutput;
use aws_sdk_lambda::types::{AliasRoutingConfiguration, LastUpdateStatus, State};
use gateway_contract::Mebibytes;

use super::patience::Waiting;
use super::sdk::{Failure, Operation, sort};
use super::state::mebibytes;
use super::{AliasState, Content, FunctionState, Patience, ProvisionError, PublishedVersion, Stop};

/// `$LATEST` or a version, once it is settled.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) memory: Mebibytes,
    pub(super) code_sha256: String,
    pub(super) revision_id: Option<String>,
    /// Why the last update failed, if it did.
    pub(super) failed_update: Option<String>,
}

/// What a published version turned out to be.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) version: u64,
    pub(super) memory: Option<Mebibytes>,
}

/// Client, bounds of waiting, and whether to stop.
#[derive(Clone, Debug)]
pub(super) struct ConfigurationApi {
    client: Client,
    patience: Patience,
    stop: Stop,
}

/// Tries of a call that is not answered, the first included: somebody watches, and a wrong endpoint does not mend itself.
const UNANSWERED_TRIES: u32 = 5;

/// A call that failed: which, and how.
pub(super) type Failed = (Operation, Failure);

/// For the user.
pub(super) fn told(function: &str) -> impl FnOnce(Failed) -> ProvisionError + '_ {
    move |(operation, failure)| failure.into_error(operation, function)
}

impl ConfigurationApi {
    pub(super) fn new(client: Client, patience: Patience, stop: Stop) -> Self {
        Self { client, patience, stop }
    }

    /// The same, for what must be done even after a stop.
    pub(super) fn unstoppable(&self) -> Self {
        Self { stop: Stop::default(), ..self.clone() }
    }

    async fn call<T, E, F>(&self, operation: Operation, attempt: impl Fn() -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let mut waiting = Waiting::begin(self.patience);
        let mut unanswered = 0;
        loop {
            let failure = match attempt().await {
                Ok(output) => return Ok(output),
                Err(error) => sort(&error),
            };
            unanswered += u32::from(matches!(failure, Failure::Unanswered(_)));
            let helps = failure.passes(operation) && unanswered < UNANSWERED_TRIES;
            let asked = if let Failure::Throttled(asked) = failure { asked } else { None };
            let pause = waiting.next_pause(asked).filter(|_| helps);
            let Some(pause) = pause else { return Err((operation, failure)) };
            tracing::debug!(
                action = operation.action(),
                ?failure,
                ?pause,
                "a configuration call is tried again"
            );
            tokio::time::sleep(pause).await;
            if self.stop.is_asked() {
                return Err((operation, Failure::Stopped));
            }
        }
    }

    pub(super) async fn account_settings(&self) -> Result<GetAccountSettingsOutput, ProvisionError> {
        let answer =
            self.call(Operation::GetAccountSettings, || self.client.get_account_settings().send()).await;
        answer.map_err(told("*"))
    }

    pub(super) async fn state(&self, function: &str) -> Result<FunctionState, ProvisionError> {
        let settled = self.settled(function, None).await?;
        let (latest, versions) = self.versions(function).await.map_err(told(function))?;
        let changed = |message: &str| ProvisionError::Changed {
            function: function.to_owned(),
            message: message.to_owned(),
        };
        let latest = latest.ok_or_else(|| changed("its versions do not list `$LATEST`"))?;
        if latest.code_sha256 != settled.code_sha256 {
            return Err(changed("its code is another than a moment ago"));
        }
        let aliases = self.aliases(function).await.map_err(told(function))?;
        let reserved = self
            .call(Operation::GetFunctionConcurrency, || {
                self.client.get_function_concurrency().function_name(function).send()
            })
            .await;
        let reserved_concurrency = match reserved {
            Ok(answer) => answer.reserved_concurrent_executions().and_then(|units| u32::try_from(units).ok()),
            // Only a warning rests on it.
            Err((operation, failure)) => {
                tracing::warn!(why = %failure.into_error(operation, function), "reserved concurrency is unknown");
                None
            }
        };
        Ok(FunctionState {
            function: function.to_owned(),
            latest_memory: settled.memory,
            latest,
            versions,
            aliases,
            reserved_concurrency,
        })
    }

    /// What `$LATEST` runs, and all published versions, oldest first.
    async fn versions(&self, function: &str) -> Result<(Option<Content>, Vec<PublishedVersion>), Failed> {
        let (mut latest, mut versions, mut marker) = (None, Vec::new(), None::<String>);
        loop {
            let page = self
                .call(Operation::ListVersionsByFunction, || {
                    let call = self.client.list_versions_by_function().function_name(function);
                    call.set_marker(marker.clone()).send()
                })
                .await?;
            for configuration in page.versions() {
                match configuration.version() {
                    Some("$LATEST") => latest = Some(Content::of(configuration)),
                    _ => versions.extend(PublishedVersion::of(configuration)),
                }
            }
            marker = page.next_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                versions.sort_by_key(|version| version.version);
                return Ok((latest, versions));
            }
        }
    }

    pub(super) async fn aliases(
        &self,
        function: &str,
    ) -> Result<std::collections::BTreeMap<String, AliasState>, Failed> {
        let (mut aliases, mut marker) = (std::collections::BTreeMap::new(), None::<String>);
        loop {
            let page = self
                .call(Operation::ListAliases, || {
                    let call = self.client.list_aliases().function_name(function);
                    call.set_marker(marker.clone()).send()
                })
                .await?;
            for alias in page.aliases() {
                aliases.extend(alias.name().map(|name| (name.to_owned(), AliasState::of(alias))));
            }
            marker = page.next_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(aliases);
            }
        }
    }

    /// `$LATEST` (no qualifier) or a version, once it is active and no update is in progress.
    pub(super) async fn settled(
        &self,
        function: &str,
        version: Option<u64>,
    ) -> Result<Settled, ProvisionError> {
        let mut waiting = Waiting::begin(self.patience);
        let failed = |reason: Option<&str>| ProvisionError::UpdateFailed {
            function: function.to_owned(),
            message: reason.unwrap_or("AWS gave no reason").to_owned(),
        };
        loop {
            let seen = self
                .call(Operation::GetFunctionConfiguration, || {
                    let call = self.client.get_function_configuration().function_name(function);
                    call.set_qualifier(version.map(|version| version.to_string())).send()
                })
                .await
                .map_err(told(function))?;
            if seen.state() == Some(&State::Failed) {
                return Err(failed(seen.state_reason()));
            }
            let updating = seen.last_update_status() == Some(&LastUpdateStatus::InProgress);
            if seen.state() != Some(&State::Pending) && !updating {
                let memory =
                    mebibytes(seen.memory_size()).ok_or_else(|| failed(Some("it has no memory size")))?;
                let is_failed = seen.last_update_status() == Some(&LastUpdateStatus::Failed);
                let reason = || seen.last_update_status_reason().unwrap_or("AWS gave no reason").to_owned();
                return Ok(Settled {
                    memory,
                    code_sha256: seen.code_sha256().unwrap_or_default().to_owned(),
                    revision_id: seen.revision_id().map(str::to_owned),
                    failed_update: is_failed.then(reason),
                });
            }
            let Some(pause) = waiting.next_pause(None) else {
                return Err(ProvisionError::Busy {
                    function: function.to_owned(),
                    message: "an update is still in progress".to_owned(),
                });
            };
            tokio::time::sleep(pause).await;
            if self.stop.is_asked() {
                return Err(ProvisionError::Stopped);
            }
        }
    }

    pub(super) async fn set_memory(
        &self,
        function: &str,
        memory: Mebibytes,
        revision_id: Option<&str>,
    ) -> Result<(), Failed> {
        let mebibytes = i32::try_from(memory.0).unwrap_or(i32::MAX);
        let call = || {
            let call = self.client.update_function_configuration().function_name(function);
            call.memory_size(mebibytes).set_revision_id(revision_id.map(str::to_owned)).send()
        };
        self.call(Operation::UpdateFunctionConfiguration, call).await.map(drop)
    }

    pub(super) async fn publish(
        &self,
        function: &str,
        description: &str,
        guard: &Settled,
    ) -> Result<Published, Failed> {
        let call = || {
            let call = self.client.publish_version().function_name(function).description(description);
            call.code_sha256(&guard.code_sha256).set_revision_id(guard.revision_id.clone()).send()
        };
        let output = self.call(Operation::PublishVersion, call).await?;
        let version = output.version().and_then(|version| version.parse().ok()).ok_or_else(|| {
            (Operation::PublishVersion, Failure::Refused("the answer names no version".to_owned()))
        })?;
        Ok(Published { version, memory: mebibytes(output.memory_size()) })
    }

    pub(super) async fn alias(&self, function: &str, alias: &str) -> Result<AliasState, Failed> {
        let call = || self.client.get_alias().function_name(function).name(alias).send();
        let seen = self.call(Operation::GetAlias, call).await?;
        let weights = seen.routing_config().and_then(|routing| routing.additional_version_weights());
        Ok(AliasState {
            version: seen.function_version().unwrap_or_default().to_owned(),
            weighted: weights.map(|weights| weights.keys().cloned().collect()).unwrap_or_default(),
            revision_id: seen.revision_id().map(str::to_owned),
        })
    }

    pub(super) async fn create_alias(&self, function: &str, alias: &str, version: u64) -> Result<(), Failed> {
        let call = || {
            let call = self.client.create_alias().function_name(function).name(alias);
            call.function_version(version.to_string()).send()
        };
        self.call(Operation::CreateAlias, call).await.map(drop)
    }

    /// Points the alias at this version alone.
    pub(super) async fn update_alias(
        &self,
        function: &str,
        alias: &str,
        version: u64,
        revision_id: Option<&str>,
    ) -> Result<(), Failed> {
        let alone = AliasRoutingConfiguration::builder()
            .set_additional_version_weights(Some(std::collections::HashMap::new()))
            .build();
        let call = || {
            let call = self.client.update_alias().function_name(function).name(alias);
            let call = call.function_version(version.to_string()).routing_config(alone.clone());
            call.set_revision_id(revision_id.map(str::to_owned)).send()
        };
        self.call(Operation::UpdateAlias, call).await.map(drop)
    }

    pub(super) async fn delete_alias(&self, function: &str, alias: &str) -> Result<(), Failed> {
        let call = || self.client.delete_alias().function_name(function).name(alias).send();
        self.call(Operation::DeleteAlias, call).await.map(drop)
    }

    /// Deletes one published version. There is no way here to delete a function: a number is always given.
    pub(super) async fn delete_version(&self, function: &str, version: u64) -> Result<(), Failed> {
        let call = || {
            let call = self.client.delete_function().function_name(function);
            call.qualifier(version.to_string()).send()
        };
        self.call(Operation::DeleteFunction, call).await.map(drop)
    }
}
