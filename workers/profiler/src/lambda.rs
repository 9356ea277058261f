//! The way to Lambda: one call of `aws-sdk-lambda`, without retries, with its bill.

use std::time::{Duration, Instant};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::config::{
    BehaviorVersion, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_lambda::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::LogType;
use aws_smithy_http_client::tls;

use crate::Billing;

/// Longest invocation: Lambda's own limit.
const LONGEST: Duration = Duration::from_secs(900);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// How to reach Lambda.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// AWS region; `None`: what the environment or the profile says, and `us-east-1` with test credentials.
    pub region: Option<String>,
    /// Another endpoint than AWS's, such as `http://127.0.0.1:9001` for the local Lambda.
    pub endpoint_url: Option<String>,
    /// Sign with the fixed pair `test`/`test` instead of the SDK's chain: the local Lambda checks no signature.
    pub has_test_credentials: bool,
}

/// An invocation that gave no measurement.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// The call did not succeed: no connection, no such function or alias, throttled.
    #[error("lambda refused the call: {0}")]
    Refused(String),
    /// The function failed; the environment may be gone.
    #[error("the function failed: {0}")]
    Function(String),
    /// The log tail has no REPORT line, so nothing is known of the bill.
    #[error("the answer's log tail has no REPORT line in text form")]
    NoReport,
}

/// An answer with its bill.
#[derive(Clone, Debug)]
pub struct Reply {
    /// JSON payload.
    pub payload: Vec<u8>,
    /// What it is billed.
    pub billing: Billing,
    /// From sending to the answer.
    pub round_trip: Duration,
    /// The version that ran, as Lambda names it.
    pub version: String,
}

/// Invokes functions.
#[derive(Clone, Debug)]
pub struct Lambda {
    client: Client,
}

impl Lambda {
    /// Builds the client; opens no connection yet. Without test credentials this reads the environment and profile files.
    pub async fn new(connection: &Connection) -> Self {
        let is_plain = connection.endpoint_url.as_deref().is_some_and(|url| url.starts_with("http://"));
        let mut builder = if connection.has_test_credentials {
            let region = connection.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
            aws_sdk_lambda::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(region))
                .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        } else {
            let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client(true));
            if let Some(region) = &connection.region {
                loader = loader.region(Region::new(region.clone()));
            }
            (&loader.load().await).into()
        };
        if let Some(url) = &connection.endpoint_url {
            builder = builder.endpoint_url(url);
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(LONGEST)
            .operation_timeout(LONGEST)
            .build();
        // A retry would be a second invocation within one measured round trip.
        let config = builder
            .http_client(http_client(!is_plain))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// The client itself, for the configuration API.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Invokes once and waits for the answer.
    ///
    /// # Errors
    /// As [`LambdaError`].
    pub async fn invoke(
        &self,
        function: &str,
        qualifier: &str,
        payload: Vec<u8>,
    ) -> Result<Reply, LambdaError> {
        let call = self
            .client
            .invoke()
            .function_name(function)
            .qualifier(qualifier)
            .log_type(LogType::Tail)
            .payload(Blob::new(payload));
        let start = Instant::now();
        let output = call
            .send()
            .await
            .map_err(|error| LambdaError::Refused(DisplayErrorContext(&error).to_string()))?;
        let round_trip = start.elapsed();
        let billing = output.log_result().and_then(billing);
        let version = output.executed_version().unwrap_or(qualifier).to_owned();
        let payload = output.payload.map(Blob::into_inner).unwrap_or_default();
        if output.function_error.is_some() {
            return Err(LambdaError::Function(String::from_utf8_lossy(&payload).chars().take(300).collect()));
        }
        Ok(Reply { payload, billing: billing.ok_or(LambdaError::NoReport)?, round_trip, version })
    }
}

fn billing(log_result: &str) -> Option<Billing> {
    let tail = base64_simd::STANDARD.decode_to_vec(log_result).ok()?;
    Billing::from_log_tail(&String::from_utf8_lossy(&tail))
}

fn http_client(has_tls: bool) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    if has_tls {
        builder.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https()
    } else {
        builder.build_http()
    }
}
