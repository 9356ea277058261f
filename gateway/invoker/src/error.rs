//! How an invocation can end without an answer, named for what the caller can do about it.

use std::time::Duration;

use crate::Metering;

/// An invocation without an answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvokeError {
    /// 429: not executed. Try again later.
    #[error("throttled ({reason})")]
    Throttled {
        /// Which limit.
        reason: ThrottleReason,
        /// As Lambda asked.
        retry_after: Option<Duration>,
    },
    /// The function ran and failed as a whole: crash, time-out, out of memory, or an error that it raised.
    #[error("function error `{error_type}`: {message}")]
    Function {
        /// `errorType` of the answer; empty if it named none.
        error_type: String,
        /// `errorMessage` of the answer, for logs; may quote input.
        message: String,
        /// What it is billed.
        metering: Metering,
        /// Lambda's name of the invocation, to find its log by.
        request_id: Option<String>,
    },
    /// The request exceeds what Lambda takes: not executed.
    #[error("request payload of {bytes} bytes is too large")]
    RequestTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Executed, but the answer exceeds what Lambda gives.
    #[error("response payload is too large")]
    ResponseTooLarge {
        /// What it is billed.
        metering: Metering,
    },
    /// It may have run: the answer did not arrive.
    #[error("outcome unknown ({cause})")]
    Unknown {
        /// What happened.
        cause: UnknownCause,
    },
    /// Lambda refused it: not executed.
    #[error("refused ({cause}): {message}")]
    Refused {
        /// Why.
        cause: RefusedCause,
        /// Lambda's text.
        message: String,
    },
    /// Not executed: no connection, no name, or not ready.
    #[error("unreachable: {message}")]
    Unreachable {
        /// What happened.
        message: String,
    },
}

impl InvokeError {
    /// Closed set of labels for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Function { .. } => "function_error",
            Self::RequestTooLarge { .. } => "request_too_large",
            Self::ResponseTooLarge { .. } => "response_too_large",
            Self::Unknown { cause: UnknownCause::Timeout } => "timeout",
            Self::Unknown { .. } => "unknown",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    /// Lambda's name of the invocation, if it ran and failed.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        let Self::Function { request_id, .. } = self else { return None };
        request_id.as_deref()
    }

    /// What the invocation is billed, if it ran for certain.
    #[must_use]
    pub const fn metering(&self) -> Option<&Metering> {
        match self {
            Self::Function { metering, .. } | Self::ResponseTooLarge { metering } => Some(metering),
            Self::Throttled { .. }
            | Self::RequestTooLarge { .. }
            | Self::Unknown { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. } => None,
        }
    }
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $label,)* })
            }
        }
    };
}

labels! {
    /// Which limit throttled. Source: Lambda's `TooManyRequestsException`, field `Reason`.
    ThrottleReason {
        /// The account's concurrency.
        Concurrency => "concurrent invocations",
        /// The function's reserved concurrency.
        ReservedConcurrency => "reserved concurrent invocations",
        /// The function's request rate.
        FunctionRate => "function invocation rate",
        /// The caller's request rate.
        CallerRate => "caller rate",
        /// Not named, or a newer one.
        Other => "unnamed limit",
    }
}

labels! {
    /// Why an outcome is unknown.
    UnknownCause {
        /// 5xx.
        ServerError => "server error",
        /// The connection broke after sending.
        ConnectionLost => "connection lost",
        /// No answer in time.
        Timeout => "timeout",
        /// An answer that is not Lambda's.
        BadResponse => "unreadable response",
    }
}

labels! {
    /// Why Lambda refused.
    RefusedCause {
        /// No permission to invoke this function or alias.
        AccessDenied => "access denied",
        /// No such function, version or alias.
        NotFound => "function or alias not found",
        /// The credentials' time is over.
        ExpiredToken => "expired credentials",
        /// The request's signature does not hold: wrong key, or this host's clock is off.
        BadSignature => "signature rejected: wrong key, or the clock of this host is off",
        /// The worker speaks another protocol version.
        ProtocolMismatch => "worker speaks another protocol version",
        /// The function runs another model or version.
        ModelMismatch => "function runs another model or version",
        /// The function cannot start: broken code, image, key or network.
        Misconfigured => "function is misconfigured",
        /// Any other.
        Other => "other",
    }
}

impl RefusedCause {
    /// Whether a retry cannot mend it. Fresh credentials can: the SDK fetches them for the next attempt.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        self != Self::ExpiredToken
    }
}
