//! `[aws]`: how to reach Lambda.

use gateway_invoker::{Credentials, InvokerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Milliseconds;

/// How to reach Lambda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AwsConfig {
    /// AWS region, for example `eu-central-1`. Default: what the SDK finds in environment and profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Another endpoint than AWS's, for example `http://127.0.0.1:9001` for the local Lambda. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// `default`: the SDK's chain (environment, profile, web identity, container, instance metadata). `static-test`: the pair
    /// `test`/`test`, for the local Lambda only. Default `default`.
    pub credentials: AwsCredentials,
    /// Longest wait for a connection, 1 to 60,000, default 1,000. Less: unreachable endpoints are noticed sooner. More: slow networks are forgiven.
    pub connect_timeout_ms: Milliseconds,
    /// Longest invocation, 100 to 910,000, default 60,000. Keep it above the functions' own time-out: an invocation cut off here
    /// has an unknown outcome, may have run, and is billed.
    pub invoke_timeout_ms: Milliseconds,
    /// Idle connections are closed after this time, default 50,000. More: fewer handshakes, but a load balancer may close first.
    pub pool_idle_timeout_ms: Milliseconds,
    /// Ask for the log tail with each invocation, default true. It holds what is billed; without it costs are estimates from the
    /// worker's own times. Costs about 4 KiB per answer.
    pub tail_logs: bool,
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AwsCredentials {
    /// The SDK's chain.
    #[default]
    Default,
    /// `test`/`test`.
    StaticTest,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            region: None,
            endpoint_url: None,
            credentials: AwsCredentials::Default,
            connect_timeout_ms: Milliseconds::new(1000),
            invoke_timeout_ms: Milliseconds::new(60_000),
            pool_idle_timeout_ms: Milliseconds::new(50_000),
            tail_logs: true,
        }
    }
}

impl AwsConfig {
    /// First key out of its range, and the range.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let within = |value: Milliseconds, low, high| {
            (Milliseconds::new(low)..=Milliseconds::new(high)).contains(&value)
        };
        if !within(self.connect_timeout_ms, 1, 60_000) {
            return Err(("connect_timeout_ms", "must be 1 to 60000"));
        }
        if !within(self.invoke_timeout_ms, 100, 910_000) {
            return Err(("invoke_timeout_ms", "must be 100 to 910000"));
        }
        match &self.endpoint_url {
            Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                Err(("endpoint_url", "must start with http:// or https://"))
            }
            Some(url) if url.contains('@') => Err(("endpoint_url", "must not carry credentials")),
            None if self.credentials == AwsCredentials::StaticTest => {
                Err(("credentials", "may be `static-test` only with an `endpoint_url`"))
            }
            _ => Ok(()),
        }
    }

    /// For the invoker.
    #[must_use]
    pub fn invoker(&self) -> InvokerConfig {
        InvokerConfig {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
            credentials: match self.credentials {
                AwsCredentials::Default => Credentials::Default,
                AwsCredentials::StaticTest => Credentials::StaticTest,
            },
            connect_timeout: self.connect_timeout_ms.duration(),
            invoke_timeout: self.invoke_timeout_ms.duration(),
            pool_idle_timeout: self.pool_idle_timeout_ms.duration(),
            tail_logs: self.tail_logs,
        }
    }
}
