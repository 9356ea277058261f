//! What can be known of an account before anything is served: credentials, clock, functions and aliases, and whether a worker answers. Changes
//! nothing.
//!
//! Deliberately absent: judgement. Whether what is found fits a configuration is for whoever asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_lambda::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_lambda::config::{ConfigBag, Intercept, Region, RuntimeComponents};
use aws_sdk_lambda::error::BoxError;

use workers_protocol::{Answer, ProtocolError};

use crate::provision::{AccountLimits, FunctionState, Patience, ProvisionError, Provisioner, Stop};
use crate::{Credentials, InvokeError, InvokerConfig, LambdaInvoker, Metering, WarmUp};

/// Longest wait for credentials: a host without a role is noticed by its metadata service not answering.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(10);
/// Who asks waits: an update that is under way is told as such.
const PATIENCE: Patience = Patience {
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_millis(500),
    limit: Duration::from_secs(3),
};

/// Where the SDK would call, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `None`: nothing names one.
    pub region: Option<String>,
    /// Of the credentials; it is no secret.
    pub access_key_id: String,
    /// When they end; `None`: they do not, or do not say.
    pub expires_at: Option<SystemTime>,
}

impl InvokerConfig {
    /// Finds region and credentials; calls no Lambda.
    ///
    /// # Errors
    /// Why there are no credentials, in the SDK's words.
    pub async fn access(&self) -> Result<Access, String> {
        if self.credentials == Credentials::StaticTest {
            let access_key_id = "test".to_owned();
            return Ok(Access { region: self.region.clone(), access_key_id, expires_at: None });
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(self.http_client(true));
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let found = async {
            let config = loader.load().await;
            let provider = config.credentials_provider().ok_or("nothing provides any")?;
            let credentials = provider
                .provide_credentials()
                .await
                .map_err(|error| aws_sdk_lambda::error::DisplayErrorContext(error).to_string())?;
            Ok::<_, String>((config.region().map(ToString::to_string), credentials))
        };
        let (region, credentials) = tokio::time::timeout(CREDENTIALS_LIMIT, found)
            .await
            .map_err(|_| format!("no answer within {} s", CREDENTIALS_LIMIT.as_secs()))??;
        let access_key_id = credentials.access_key_id().to_owned();
        Ok(Access { region, access_key_id, expires_at: credentials.expiry() })
    }
}

/// Reads an account and its functions.
#[derive(Clone, Debug)]
pub struct Inspector {
    provisioner: Provisioner,
    clock: ClockWatch,
}

impl Inspector {
    /// Builds the client; calls nothing yet.
    pub async fn new(config: &InvokerConfig) -> Self {
        let clock = ClockWatch::default();
        let client = config.client_with(Some(clock.clone())).await;
        Self { provisioner: Provisioner::of(client, PATIENCE, Stop::default()), clock }
    }

    /// The account's limits.
    ///
    /// # Errors
    /// [`ProvisionError`]: not permitted, throttled, or no answer.
    pub async fn account_limits(&self) -> Result<AccountLimits, ProvisionError> {
        self.provisioner.account_limits().await
    }

    /// What a function has.
    ///
    /// # Errors
    /// [`ProvisionError`], among them that there is no such function.
    pub async fn function(&self, function: &str) -> Result<FunctionState, ProvisionError> {
        self.provisioner.state(function).await
    }

    /// Whether a version can be invoked.
    ///
    /// # Errors
    /// Why not: it failed, is still being made, or may not be looked at.
    pub async fn is_active(&self, function: &str, version: u64) -> Result<(), ProvisionError> {
        self.provisioner.settled(function, version).await
    }

    /// By how much this host's clock is ahead of AWS's (first) or behind (second), by the last answer; `None`: there was none with a date.
    #[must_use]
    pub fn clock(&self) -> Option<Skew> {
        *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why no worker of this build answers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoWorker {
    /// The invocation failed.
    #[error(transparent)]
    Invocation(#[from] InvokeError),
    /// A worker of another protocol version.
    #[error("{0}")]
    OtherProtocol(String),
    /// Something else.
    #[error("what answers is no worker of Penstock: {0}")]
    Foreign(String),
}

/// Calls an alias with no items: billed as any invocation, a cold start included.
///
/// # Errors
/// Why no worker of this build answers there.
pub async fn call(
    invoker: &LambdaInvoker,
    function: &str,
    qualifier: &str,
    model: (&str, &str),
    process_count: u32,
) -> Result<Metering, NoWorker> {
    let warm_up = WarmUp::new(Arc::from(function), Arc::from(qualifier), model, process_count);
    let result = warm_up.run(invoker, 1).await.pop();
    let Some(reply) = result.transpose()? else { return Err(NoWorker::Foreign("nothing".to_owned())) };
    match Answer::decode(&reply.payload) {
        Ok(_) => Ok(reply.metering),
        Err(error @ ProtocolError::VersionMismatch { .. }) => Err(NoWorker::OtherProtocol(error.to_string())),
        Err(error) => Err(NoWorker::Foreign(error.to_string())),
    }
}

/// Difference of two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// Ours is ahead.
    Ahead(Duration),
    /// Ours is behind.
    Behind(Duration),
}

impl Skew {
    fn of(ours: SystemTime, theirs: SystemTime) -> Self {
        match ours.duration_since(theirs) {
            Ok(ahead) => Self::Ahead(ahead),
            Err(error) => Self::Behind(error.duration()),
        }
    }

    /// Its size.
    #[must_use]
    pub const fn size(self) -> Duration {
        match self {
            Self::Ahead(by) | Self::Behind(by) => by,
        }
    }
}

/// Reads the date of each answer, refusals included: a clock that is wrong is refused by its signature.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockWatch(Arc<Mutex<Option<Skew>>>);

impl Intercept for ClockWatch {
    fn name(&self) -> &'static str {
        "ClockWatch"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date =
            context.response().headers().get("date").and_then(|text| httpdate::parse_http_date(text).ok());
        if let Some(date) = date {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Skew::of(SystemTime::now(), date));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_clocks_has_a_direction() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let by = Duration::from_secs(90);
        assert_eq!(Skew::of(now + by, now), Skew::Ahead(by));
        assert_eq!(Skew::of(now, now + by), Skew::Behind(by));
    }
}
