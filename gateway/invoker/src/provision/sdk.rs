//! SDK errors of configuration calls → what to do: wait and try again, or give up and say why.
//!
//! Unlike invocations every configuration call here may be repeated after an unknown outcome: each is guarded by a revision, or
//! does the same when done twice.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::ProvisionError;

/// Which configuration call, by its IAM action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    GetAccountSettings,
    GetFunctionConfiguration,
    GetFunctionConcurrency,
    ListVersionsByFunction,
    ListAliases,
    GetAlias,
    UpdateFunctionConfiguration,
    PublishVersion,
    CreateAlias,
    UpdateAlias,
    DeleteAlias,
    DeleteFunction,
}

impl Operation {
    /// `lambda:…`
    pub(super) fn action(self) -> String {
        format!("lambda:{self:?}")
    }

    /// Whether a conflict passes by itself: an update in progress does; an alias that exists, or a version in use, does not.
    fn outlives_conflicts(self) -> bool {
        !matches!(self, Self::CreateAlias | Self::DeleteFunction)
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// 409: the function is busy, or the thing exists.
    Conflict(String),
    /// 429, with what it asked for.
    Throttled(Option<Duration>),
    /// 412: not the revision that was read.
    WrongRevision(String),
    /// Not permitted.
    Denied(String),
    /// No such function, version or alias.
    NotFound(String),
    /// A value that the account does not allow, or that does not fit what is there.
    Invalid(String),
    /// 5xx or no answer: it may have been done.
    Unanswered(String),
    /// Anything else.
    Refused(String),
    /// Told to stop while waiting.
    Stopped,
}

impl Failure {
    /// Whether a later try may go better.
    pub(super) fn passes(&self, operation: Operation) -> bool {
        match self {
            Self::Throttled(_) | Self::Unanswered(_) => true,
            Self::Conflict(_) => operation.outlives_conflicts(),
            Self::WrongRevision(_)
            | Self::Denied(_)
            | Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Refused(_)
            | Self::Stopped => false,
        }
    }

    /// For the user.
    pub(super) fn into_error(self, operation: Operation, function: &str) -> ProvisionError {
        let (action, function) = (operation.action(), function.to_owned());
        match self {
            Self::Conflict(message) => ProvisionError::Busy { function, message },
            Self::Throttled(_) => ProvisionError::Throttled { action },
            Self::WrongRevision(message) => ProvisionError::Changed { function, message },
            Self::Denied(message) => {
                let action = denied_action(&message).unwrap_or(action);
                ProvisionError::Denied { action, function, message }
            }
            Self::NotFound(_)
                if matches!(
                    operation,
                    Operation::GetFunctionConfiguration
                        | Operation::ListVersionsByFunction
                        | Operation::ListAliases
                ) =>
            {
                ProvisionError::FunctionMissing { function }
            }
            Self::NotFound(message) | Self::Invalid(message) | Self::Refused(message) => {
                ProvisionError::Refused { action, function, message }
            }
            Self::Unanswered(message) => ProvisionError::Unreachable { action, message },
            Self::Stopped => ProvisionError::Stopped,
        }
    }
}

/// The action that AWS itself names: it may be another than that of the call, for example of a key or a layer.
fn denied_action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    let action = rest.split_whitespace().next()?.trim_end_matches(['.', ',']);
    action.contains(':').then(|| action.to_owned())
}

/// Sorts an SDK error.
pub(super) fn sort<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let SdkError::ServiceError(service) = error else {
        let text = DisplayErrorContext(error).to_string();
        let was_built = !matches!(error, SdkError::ConstructionFailure(_));
        return if was_built { Failure::Unanswered(text) } else { Failure::Refused(text) };
    };
    let code = service.err().code().unwrap_or_default();
    let text = service.err().message().unwrap_or(code).to_owned();
    let status = service.raw().status().as_u16();
    match (code, status) {
        ("ResourceConflictException" | "ResourceNotReadyException", _) | (_, 409) => Failure::Conflict(text),
        ("TooManyRequestsException" | "ThrottlingException" | "Throttling", _) | (_, 429) => {
            let asked = service.raw().headers().get("retry-after").and_then(|text| text.trim().parse().ok());
            Failure::Throttled(asked.map(Duration::from_secs))
        }
        ("PreconditionFailedException", _) | (_, 412) => Failure::WrongRevision(text),
        ("AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation", _) => Failure::Denied(text),
        ("ResourceNotFoundException", _) => Failure::NotFound(text),
        ("InvalidParameterValueException" | "ValidationException", _) => Failure::Invalid(text),
        (_, 500..) => Failure::Unanswered(format!("{status} {code} {text}")),
        _ => Failure::Refused(format!("{code}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_that_aws_names_wins_over_that_of_the_call() {
        let message =
            "User: arn:aws:sts::1:assumed-role/p/s is not authorized to perform: kms:Decrypt on resource: k";
        let named = Failure::Denied(message.to_owned()).into_error(Operation::PublishVersion, "f");
        assert!(
            matches!(&named, ProvisionError::Denied { action, .. } if action == "kms:Decrypt"),
            "{named}"
        );
        let unnamed = Failure::Denied("no".to_owned()).into_error(Operation::PublishVersion, "f");
        assert!(unnamed.to_string().contains("`lambda:PublishVersion` on `f`"), "{unnamed}");
    }

    #[test]
    fn a_conflict_passes_only_where_waiting_helps() {
        let conflict = Failure::Conflict(String::new());
        assert!(conflict.passes(Operation::UpdateFunctionConfiguration));
        assert!(!conflict.passes(Operation::CreateAlias) && !conflict.passes(Operation::DeleteFunction));
        assert!(!Failure::Denied(String::new()).passes(Operation::PublishVersion));
    }
}
