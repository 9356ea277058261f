//! What the account allows. Memory has a ceiling too, but AWS tells it only to those who try a larger size.

use super::sdk::Operation;
use super::{Patience, ProvisionError, Provisioner, Stop};
use crate::InvokerConfig;

/// Synchronous requests a second for each unit of concurrency. Source: AWS Lambda documentation, "Lambda quotas".
pub const REQUESTS_PER_SECOND_PER_SANDBOX: u32 = 10;

/// Limits of an account in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Sandboxes at a time, all functions together.
    pub concurrency: u32,
    /// Of these, for functions without reserved concurrency.
    pub unreserved_concurrency: u32,
}

impl AccountLimits {
    /// Synchronous requests a second, all functions together.
    #[must_use]
    pub const fn requests_per_second(&self) -> u32 {
        self.concurrency.saturating_mul(REQUESTS_PER_SECOND_PER_SANDBOX)
    }

    /// Sandboxes that a function may have at a time, given what is reserved for it.
    #[must_use]
    pub fn of_function(&self, reserved_concurrency: Option<u32>) -> u32 {
        reserved_concurrency.unwrap_or(self.unreserved_concurrency)
    }
}

/// Asks AWS once for the account's limits, with the default [`Patience`].
///
/// # Errors
/// [`ProvisionError`]: not permitted, throttled, or no answer.
pub async fn account_limits(config: &InvokerConfig) -> Result<AccountLimits, ProvisionError> {
    Provisioner::new(config, Patience::default(), Stop::default()).await.account_limits().await
}

impl Provisioner {
    /// The account's limits.
    ///
    /// # Errors
    /// [`ProvisionError`]: not permitted, throttled, or no answer.
    pub async fn account_limits(&self) -> Result<AccountLimits, ProvisionError> {
        let settings = self.api.account_settings().await?;
        let unreadable = || ProvisionError::Refused {
            action: Operation::GetAccountSettings.action(),
            function: "*".to_owned(),
            message: "the answer names no limits".to_owned(),
        };
        let limit = settings.account_limit().ok_or_else(unreadable)?;
        let concurrency = u32::try_from(limit.concurrent_executions()).map_err(|_| unreadable())?;
        let unreserved = limit.unreserved_concurrent_executions().and_then(|units| u32::try_from(units).ok());
        Ok(AccountLimits { concurrency, unreserved_concurrency: unreserved.unwrap_or(concurrency) })
    }
}
