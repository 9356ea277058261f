//! The versions that an experiment measures: published for it, and deleted by it.
//!
//! *Problem*: memory belongs to a version, and a cold start needs an environment that nobody has used. *Rule*: a version is `$LATEST` with a memory
//! size and one marking environment variable; since both are content, every change of the mark makes a new version, and a new version has no
//! environments yet. One version a memory size is kept for warm runs; each cold run gets one of its own and deletes it. `$LATEST` is
//! borrowed for it: it gets its memory back and loses the mark when a model is done, when a session ends in whatever way but a kill, and then by the next.
//! *Why not aliases*: `mem-…` aliases are what the gateway serves from; an experiment beside them must not warm, move or delete them. *Why not
//! waiting* for environments to end: nobody says when they do.
//! Deliberately absent: making functions, code, permissions; the values of other environment variables are handed back as they were, and never shown.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_lambda::types::{Environment, LastUpdateStatus, State};

use crate::Lambda;

/// The marking variable.
pub(crate) const MARK: &str = "PENSTOCK_PROFILE";
/// Longest wait for an update, or for the API to take a call.
const PATIENCE: Duration = Duration::from_secs(180);
const FIRST_PAUSE: Duration = Duration::from_millis(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The configuration API could not do what was needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// It refused: permission, a value, no such function.
    #[error("{action} on `{function}`: {reason}")]
    Refused {
        /// What was asked for.
        action: &'static str,
        /// Of which function.
        function: String,
        /// Its words.
        reason: String,
    },
    /// It was busy for longer than three minutes.
    #[error("{action} on `{function}`: still busy after three minutes: {reason}")]
    Busy {
        /// What was asked for.
        action: &'static str,
        /// Of which function.
        function: String,
        /// Its last words.
        reason: String,
    },
}

/// What `$LATEST` was before the experiment changed it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Original {
    /// The function.
    pub function: String,
    /// Memory of `$LATEST`, MiB.
    pub memory_mib: i32,
}

/// Publishes and deletes versions of one experiment.
#[derive(Clone, Debug)]
pub struct Versions {
    client: Client,
    experiment: String,
}

impl Versions {
    /// For the experiment of this name.
    #[must_use]
    pub fn new(lambda: &Lambda, experiment: &str) -> Self {
        Self { client: lambda.client().clone(), experiment: experiment.to_owned() }
    }

    /// What `$LATEST` is now; if an earlier session left its mark, the memory is that session's and not its own.
    ///
    /// # Errors
    /// As [`VersionError`].
    pub async fn original(&self, function: &str) -> Result<(Original, bool), VersionError> {
        let found = self.settled(function, None).await?;
        let is_marked = variables(&found).contains_key(MARK);
        let memory_mib = found.memory_size().unwrap_or_default();
        Ok((Original { function: function.to_owned(), memory_mib }, is_marked))
    }

    /// Publishes a version that nobody has used: its number. `tag` tells it from the experiment's others.
    ///
    /// # Errors
    /// As [`VersionError`].
    pub async fn publish(&self, function: &str, memory_mib: u32, tag: &str) -> Result<String, VersionError> {
        let found = self.settled(function, None).await?;
        let mut variables = variables(&found);
        variables.insert(MARK.to_owned(), format!("{} {tag}", self.experiment));
        let memory = i32::try_from(memory_mib).unwrap_or(i32::MAX);
        self.update(function, memory, variables).await?;
        self.settled(function, None).await?;
        let description = format!("{} {tag}", self.description());
        let version = self
            .patiently("lambda:PublishVersion", function, async || {
                self.client.publish_version().function_name(function).description(&description).send().await
            })
            .await?;
        let version = version.version().unwrap_or_default().to_owned();
        self.settled(function, Some(&version)).await?;
        Ok(version)
    }

    /// Gives `$LATEST` its memory back and takes the mark off it.
    ///
    /// # Errors
    /// As [`VersionError`].
    pub async fn restore(&self, original: &Original) -> Result<(), VersionError> {
        let function = &original.function;
        let found = self.settled(function, None).await?;
        let mut variables = variables(&found);
        let was_marked = variables.remove(MARK).is_some();
        if !was_marked && found.memory_size() == Some(original.memory_mib) {
            return Ok(());
        }
        self.update(function, original.memory_mib, variables).await?;
        self.settled(function, None).await.map(|_| ())
    }

    /// Deletes a version; one that is gone is fine.
    ///
    /// # Errors
    /// As [`VersionError`].
    pub async fn delete(&self, function: &str, version: &str) -> Result<(), VersionError> {
        let deleted = self
            .patiently("lambda:DeleteFunction", function, async || {
                self.client.delete_function().function_name(function).qualifier(version).send().await
            })
            .await;
        match deleted {
            Err(VersionError::Refused { reason, .. }) if reason.starts_with("ResourceNotFoundException") => {
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// All versions of a function that this experiment has published, whichever session did, oldest first.
    ///
    /// # Errors
    /// As [`VersionError`].
    pub async fn ours(&self, function: &str) -> Result<Vec<String>, VersionError> {
        let (mut ours, mut marker): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let page = self
                .patiently("lambda:ListVersionsByFunction", function, async || {
                    let call = self.client.list_versions_by_function().function_name(function);
                    call.set_marker(marker.clone()).send().await
                })
                .await?;
            let prefix = format!("{} ", self.description());
            let is_ours =
                |description: Option<&str>| description.is_some_and(|text| text.starts_with(&prefix));
            for version in page.versions() {
                // `$LATEST` is never ours to delete, whatever it says.
                if let Some(number) =
                    version.version().filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                    && is_ours(version.description())
                {
                    ours.push(number.to_owned());
                }
            }
            marker = page.next_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(ours);
            }
        }
    }

    fn description(&self) -> String {
        format!("penstock profile {}", self.experiment)
    }

    async fn update(
        &self,
        function: &str,
        memory_mib: i32,
        variables: HashMap<String, String>,
    ) -> Result<(), VersionError> {
        let environment = Environment::builder().set_variables(Some(variables)).build();
        self.patiently("lambda:UpdateFunctionConfiguration", function, async || {
            let call = self.client.update_function_configuration().function_name(function);
            call.memory_size(memory_mib).environment(environment.clone()).send().await
        })
        .await
        .map(|_| ())
    }

    /// The configuration once no update is in progress.
    async fn settled(
        &self,
        function: &str,
        version: Option<&str>,
    ) -> Result<GetFunctionConfigurationOutput, VersionError> {
        let action = "lambda:GetFunctionConfiguration";
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let found = self
                .patiently(action, function, async || {
                    let call = self.client.get_function_configuration().function_name(function);
                    call.set_qualifier(version.map(str::to_owned)).send().await
                })
                .await?;
            let is_busy = found.last_update_status() == Some(&LastUpdateStatus::InProgress)
                || found.state() == Some(&State::Pending);
            if found.last_update_status() == Some(&LastUpdateStatus::Failed) && version.is_none() {
                let reason = found.last_update_status_reason().unwrap_or("the last update failed").to_owned();
                return Err(VersionError::Refused { action, function: function.to_owned(), reason });
            }
            if !is_busy {
                return Ok(found);
            }
            if begin.elapsed() > PATIENCE {
                let reason = "an update is in progress".to_owned();
                return Err(VersionError::Busy { action, function: function.to_owned(), reason });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Calls until it is answered: conflicts, throttling and failures of the service pass. All calls here may be repeated.
    async fn patiently<T, E>(
        &self,
        action: &'static str,
        function: &str,
        call: impl AsyncFn() -> Result<T, SdkError<E>>,
    ) -> Result<T, VersionError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let function = function.to_owned();
            let (passes, reason) = told(&error);
            if !passes {
                return Err(VersionError::Refused { action, function, reason });
            }
            if begin.elapsed() > PATIENCE {
                return Err(VersionError::Busy { action, function, reason });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether waiting helps, and the error in words.
fn told<E>(error: &SdkError<E>) -> (bool, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let SdkError::ServiceError(service) = error else {
        // No connection at all is told at once: whoever started this has the wrong address more often than a bad line.
        return (matches!(error, SdkError::TimeoutError(_)), DisplayErrorContext(error).to_string());
    };
    let code = service.err().code().unwrap_or("no code");
    let passing = [
        "ResourceConflictException",
        "TooManyRequestsException",
        "ThrottlingException",
        "ResourceNotReadyException",
    ];
    let is_their_fault = service.raw().status().is_server_error();
    let reason = format!("{code}: {}", service.err().message().unwrap_or_default());
    (passing.contains(&code) || is_their_fault, reason)
}

fn variables(found: &GetFunctionConfigurationOutput) -> HashMap<String, String> {
    found.environment().and_then(|environment| environment.variables()).cloned().unwrap_or_default()
}
