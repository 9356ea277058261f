//! How provisioning can fail, named for what its user can do about it.

use gateway_contract::Mebibytes;

/// Provisioning failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The role lacks a permission.
    #[error("the role may not call `{action}` on `{function}`: allow this IAM action ({message})")]
    Denied {
        /// The missing IAM action, for example `lambda:PublishVersion`.
        action: String,
        /// Function that it is missing for; `*` for calls without one.
        function: String,
        /// AWS's text.
        message: String,
    },
    /// There is no such function.
    #[error("there is no function `{function}` in this account and region: deploy it first")]
    FunctionMissing {
        /// As configured.
        function: String,
    },
    /// Something else kept the function busy for as long as we waited.
    #[error("`{function}` stayed busy: {message}")]
    Busy {
        /// As configured.
        function: String,
        /// What it was busy with.
        message: String,
    },
    /// AWS limited our calls for as long as we waited.
    #[error("AWS kept throttling `{action}`: run again later")]
    Throttled {
        /// The call.
        action: String,
    },
    /// Somebody else changed the function or an alias meanwhile. A new run starts from what is there then.
    #[error("`{function}` was changed by somebody else meanwhile ({message}): run again")]
    Changed {
        /// As configured.
        function: String,
        /// What was noticed.
        message: String,
    },
    /// AWS accepted a change and failed to carry it out.
    #[error("AWS failed to update `{function}`: {message}")]
    UpdateFailed {
        /// As configured.
        function: String,
        /// AWS's reason.
        message: String,
    },
    /// The account does not allow functions of this size.
    #[error("the account does not allow {memory} for `{function}` ({message})")]
    MemoryRefused {
        /// As configured.
        function: String,
        /// What was asked for.
        memory: Mebibytes,
        /// The largest that is allowed, where AWS named it.
        ceiling: Option<Mebibytes>,
        /// AWS's text.
        message: String,
    },
    /// AWS refused for another reason; trying again does not help.
    #[error("`{action}` on `{function}` was refused: {message}")]
    Refused {
        /// The call.
        action: String,
        /// As configured.
        function: String,
        /// AWS's code and text.
        message: String,
    },
    /// No answer, for as long as we waited.
    #[error("`{action}` cannot be reached: {message}")]
    Unreachable {
        /// The call.
        action: String,
        /// What happened.
        message: String,
    },
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// `$LATEST` could not be given its own memory back.
    #[error("`$LATEST` of `{function}` was left with {found} instead of {original}: {source}")]
    NotRestored {
        /// As configured.
        function: String,
        /// What it had.
        original: Mebibytes,
        /// What it was last given.
        found: Mebibytes,
        /// Why.
        source: Box<ProvisionError>,
    },
}
