//! One state machine of AWS Step Functions: start an execution, look at it, stop it.
//!
//! Region: the state machine's own. Credentials and endpoint come from the usual environment (`AWS_ENDPOINT_URL_SFN`, a role of the host, …),
//! as those of S3 do. Unlike invocations these calls may be repeated: an execution is named by the caller, and starting the same one twice
//! starts it once; so the SDK's own retries are on. Deliberately absent: what the executions do, and their results, which lie in S3.

use std::time::Duration;

use aws_sdk_sfn::Client;
use aws_sdk_sfn::config::retry::RetryConfig;
use aws_sdk_sfn::config::timeout::TimeoutConfig;
use aws_sdk_sfn::config::{BehaviorVersion, Region};
use aws_sdk_sfn::error::{DisplayErrorContext, SdkError};
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionError;
use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use aws_sdk_sfn::types::ExecutionStatus;

use crate::InvokerConfig;

/// Longest call, tries included.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A state machine and how to reach it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateMachine {
    client: Client,
    arn: String,
}

/// An execution as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Where it stands.
    pub status: Status,
    /// Items that its Map state has done, and all of them, once there is one.
    pub items: Option<(u64, u64)>,
}

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Under way.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended otherwise: failed, timed out, or stopped.
    Ended {
        /// Name of the error, such as `States.ExceedToleratedFailureThreshold`; `Stopped` or `TimedOut` if it has none.
        error: String,
        /// For people.
        cause: String,
    },
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum StateMachineError {
    /// Not the ARN of a state machine.
    #[error("`{arn}` is no ARN of a state machine (arn:aws:states:REGION:ACCOUNT:stateMachine:NAME)")]
    BadArn {
        /// What was given.
        arn: String,
    },
    /// Step Functions refused the call or did not answer.
    #[error("states:{action}: {reason}")]
    Call {
        /// IAM action without its service.
        action: &'static str,
        /// The SDK's words.
        reason: String,
    },
}

impl StateMachine {
    /// Builds the client; opens no connection yet.
    ///
    /// # Errors
    /// [`StateMachineError::BadArn`].
    pub async fn new(arn: &str) -> Result<Self, StateMachineError> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", _, "states", region, _, "stateMachine", name] = parts[..] else {
            return Err(StateMachineError::BadArn { arn: arn.to_owned() });
        };
        if region.is_empty() || name.is_empty() {
            return Err(StateMachineError::BadArn { arn: arn.to_owned() });
        }
        let http = InvokerConfig::default().http_client(true);
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(region.to_owned()))
            .load()
            .await;
        let timeouts = TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).build();
        let config = aws_sdk_sfn::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard())
            .timeout_config(timeouts)
            .build();
        Ok(Self { client: Client::from_conf(config), arn: arn.to_owned() })
    }

    fn execution(&self, name: &str) -> String {
        format!("{}:{name}", self.arn.replacen(":stateMachine:", ":execution:", 1))
    }

    /// Starts an execution; one of this name that is there already, whatever it does, is left as it is.
    ///
    /// # Errors
    /// [`StateMachineError::Call`].
    pub async fn start(&self, name: &str, input: &str) -> Result<(), StateMachineError> {
        let call = self.client.start_execution().state_machine_arn(&self.arn).name(name).input(input);
        match call.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), StartExecutionError::ExecutionAlreadyExists(_)) =>
            {
                Ok(())
            }
            Err(error) => Err(failed("StartExecution", &error)),
        }
    }

    /// Looks at an execution; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`StateMachineError::Call`].
    pub async fn execution_of(&self, name: &str) -> Result<Option<Execution>, StateMachineError> {
        let arn = self.execution(name);
        let described = match self.client.describe_execution().execution_arn(&arn).send().await {
            Ok(described) => described,
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), DescribeExecutionError::ExecutionDoesNotExist(_)) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed("DescribeExecution", &error)),
        };
        let ended = |otherwise: &str| Status::Ended {
            error: described.error.clone().unwrap_or_else(|| otherwise.to_owned()),
            cause: described.cause.clone().unwrap_or_default(),
        };
        let is = |status: ExecutionStatus| described.status == status;
        let status = if is(ExecutionStatus::Running) || is(ExecutionStatus::PendingRedrive) {
            Status::Running
        } else if is(ExecutionStatus::Succeeded) {
            Status::Succeeded
        } else if is(ExecutionStatus::TimedOut) {
            ended("TimedOut")
        } else if is(ExecutionStatus::Aborted) {
            ended("Stopped")
        } else {
            ended(described.status.as_str())
        };
        let items = if status == Status::Running { self.items(&arn).await } else { None };
        Ok(Some(Execution { status, items }))
    }

    /// How far the Map state is. It is only for show: what cannot be read is nothing.
    async fn items(&self, execution: &str) -> Option<(u64, u64)> {
        let runs = self.client.list_map_runs().execution_arn(execution).send().await.ok()?;
        let run = runs.map_runs.last()?.map_run_arn.clone();
        let described = self.client.describe_map_run().map_run_arn(run).send().await.ok()?;
        let counts = described.item_counts?;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        let done = number(counts.succeeded) + number(counts.failed) + number(counts.timed_out);
        Some((done, number(counts.total)))
    }

    /// Stops an execution: no further item begins. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`StateMachineError::Call`].
    pub async fn stop(&self, name: &str, cause: &str) -> Result<(), StateMachineError> {
        let call = self.client.stop_execution().execution_arn(self.execution(name)).error("Stopped");
        let Err(error) = call.cause(cause).send().await else { return Ok(()) };
        // One that has ended cannot be stopped, which is as well.
        let found = self.execution_of(name).await?;
        let is_running = found.is_some_and(|found| found.status == Status::Running);
        if is_running { Err(failed("StopExecution", &error)) } else { Ok(()) }
    }
}

fn failed<E: std::error::Error + 'static>(action: &'static str, error: &E) -> StateMachineError {
    StateMachineError::Call { action, reason: DisplayErrorContext(error).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_state_machine_is_refused_by_name() {
        for arn in
            ["", "penstock-bulk", "arn:aws:lambda:us-east-1:1:function:f", "arn:aws:states::1:stateMachine:m"]
        {
            let error = StateMachine::new(arn).await.unwrap_err().to_string();
            assert!(error.contains(&format!("`{arn}`")), "{error}");
        }
        let machine = StateMachine::new("arn:aws:states:eu-west-1:12:stateMachine:m").await.unwrap();
        assert_eq!(machine.execution("j-1"), "arn:aws:states:eu-west-1:12:execution:m:j-1");
    }
}
