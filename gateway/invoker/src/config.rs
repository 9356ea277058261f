//! How to reach Lambda: region, endpoint, credentials, time-outs.

use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::config::{
    BehaviorVersion, Credentials as StaticCredentials, Region, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls;

/// Settings of the invoker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokerConfig {
    /// AWS region; `None`: what the environment or the profile says, else `us-east-1` for static credentials.
    pub region: Option<String>,
    /// Another endpoint than AWS's, for example `http://127.0.0.1:9001` for the local Lambda.
    pub endpoint_url: Option<String>,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// Longest wait for a connection, default 1 s. Nothing was sent when it ends: such an invocation is retried freely.
    pub connect_timeout: Duration,
    /// Longest invocation, default 60 s. Must exceed the function's own time-out, or outcomes become unknown.
    pub invoke_timeout: Duration,
    /// Idle connections are closed after this time, default 50 s: below the 60 s after which AWS's load balancers do.
    pub pool_idle_timeout: Duration,
    /// Ask for the log tail, which carries what is billed; default true. Without it costs are estimates.
    pub tail_logs: bool,
}

impl Default for InvokerConfig {
    fn default() -> Self {
        Self {
            region: None,
            endpoint_url: None,
            credentials: Credentials::Default,
            connect_timeout: Duration::from_secs(1),
            invoke_timeout: Duration::from_secs(60),
            pool_idle_timeout: Duration::from_secs(50),
            tail_logs: true,
        }
    }
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The SDK's chain: environment, profile, web identity, container, instance metadata.
    #[default]
    Default,
    /// The fixed pair `test`/`test`: for the local Lambda, which checks no signature.
    StaticTest,
}

const FALLBACK_REGION: &str = "us-east-1";

impl InvokerConfig {
    /// Builds the SDK client. With [`Credentials::Default`] this reads the environment and profile files.
    pub(crate) async fn client(&self) -> Client {
        let mut builder = match self.credentials {
            Credentials::StaticTest => aws_sdk_lambda::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(self.region.clone().unwrap_or_else(|| FALLBACK_REGION.to_owned())))
                .credentials_provider(StaticCredentials::new("test", "test", None, None, "static-test")),
            Credentials::Default => {
                let mut loader =
                    aws_config::defaults(BehaviorVersion::latest()).http_client(self.http_client(true));
                if let Some(region) = &self.region {
                    loader = loader.region(Region::new(region.clone()));
                }
                (&loader.load().await).into()
            }
        };
        let plain_http = self.endpoint_url.as_deref().is_some_and(|url| url.starts_with("http://"));
        if let Some(url) = &self.endpoint_url {
            builder = builder.endpoint_url(url);
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.invoke_timeout)
            .operation_timeout(self.invoke_timeout)
            .build();
        let config = builder
            .http_client(self.http_client(!plain_http))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Client::from_conf(config)
    }

    pub(crate) fn http_client(&self, tls: bool) -> aws_sdk_lambda::config::SharedHttpClient {
        let builder = aws_smithy_http_client::Builder::new().pool_idle_timeout(self.pool_idle_timeout);
        if tls {
            builder.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https()
        } else {
            builder.build_http()
        }
    }
}
