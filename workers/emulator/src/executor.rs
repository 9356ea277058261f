//! Running one admitted invocation to its end: a warm or a new sandbox, the time-out, the figures. Runs in a task of its own, so that a client that leaves changes nothing, as on AWS.

use crate::billing::billed_ms;
use crate::clock;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::initialise::{Ready, initialise, settling};
use crate::limits::ThrottleReason;
use crate::report::{Failure, Report};
use crate::sandbox::{Ending, Event, FunctionError, Sandbox};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Sandboxes that may end one after the other before one takes the event.
const DELIVERY_ATTEMPTS: u32 = 8;

/// A fault that happens inside the execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The sandbox is killed so long after it got the event.
    Kill { after: Duration },
    /// The answer counts as too large.
    Oversize,
}

/// An execution that is over.
pub(crate) struct Execution {
    pub(crate) body: Bytes,
    pub(crate) error: Option<FunctionError>,
    /// The last 4 KB of the log, if asked for.
    pub(crate) tail: Option<Vec<u8>>,
}

/// What happened, before it is written up.
pub(crate) struct Outcome {
    pub(crate) body: Result<(Bytes, Option<FunctionError>), Failure>,
    pub(crate) duration: Duration,
    pub(crate) init: Option<Duration>,
    /// INIT that failed and was run again: billed, though not in the report's Init Duration.
    pub(crate) lost_init: Option<Duration>,
    pub(crate) was_cold: bool,
    pub(crate) sandbox: Option<Arc<Sandbox>>,
}

/// Runs `event` in `fleet`.
///
/// # Errors
/// The reason of a throttle, when a new environment was needed and is not granted.
pub(crate) async fn execute(
    host: &Arc<Host>,
    fleet: &Arc<Fleet>,
    event: Arc<Event>,
    mishap: Option<Mishap>,
    with_tail: bool,
) -> Result<Execution, ThrottleReason> {
    let outcome = run(host, fleet, &event, mishap, with_tail).await?;
    Ok(write_up(fleet, &event.request_id, outcome, with_tail))
}

async fn run(
    host: &Arc<Host>,
    fleet: &Arc<Fleet>,
    event: &Arc<Event>,
    mishap: Option<Mishap>,
    with_tail: bool,
) -> Result<Outcome, ThrottleReason> {
    for _ in 0..DELIVERY_ATTEMPTS {
        let warm = fleet.take_idle();
        let ready = match warm {
            Some(sandbox) => {
                Ready { sandbox, init: None, lost_init: None, was_cold: false, phase_start: None }
            }
            None => {
                host.admit_environment(&fleet.version.name)?;
                match initialise(host, fleet, event).await {
                    Ok(ready) => ready,
                    Err(outcome) => return Ok(*outcome),
                }
            }
        };
        // A sandbox that was gone before it took the event has executed nothing: another one runs it.
        if let Some(outcome) = invoke(fleet, ready, event, mishap, with_tail).await {
            return Ok(outcome);
        }
    }
    let body = Err(Failure::Exited { how: None });
    Ok(Outcome { body, duration: Duration::ZERO, init: None, lost_init: None, was_cold: true, sandbox: None })
}

/// Hands `event` to the sandbox and waits for its end; `None` when it was not delivered.
async fn invoke(
    fleet: &Arc<Fleet>,
    ready: Ready,
    event: &Arc<Event>,
    mishap: Option<Mishap>,
    with_tail: bool,
) -> Option<Outcome> {
    let Ready { sandbox, init, lost_init, was_cold, phase_start } = ready;
    let assigned = Instant::now();
    let begin = phase_start.unwrap_or(assigned);
    let timeout = timeout_of(fleet);
    let remaining = timeout.saturating_sub(assigned.saturating_duration_since(begin));
    let deadline_ms = clock::unix_millis(SystemTime::now() + remaining);
    if with_tail || sandbox.logs.forwards() {
        if !was_cold {
            sandbox.logs.clear();
        }
        sandbox
            .logs
            .platform(&format!("START RequestId: {} Version: {}\n", event.request_id, fleet.version.version));
    }
    let ending = sandbox.assign(Arc::clone(event), deadline_ms)?;
    if let Some(Mishap::Kill { after }) = mishap {
        kill_later(&sandbox, after);
    }
    let ended = tokio::time::timeout(remaining, settling(&sandbox, ending)).await;
    let extra = assigned.saturating_duration_since(begin);
    let (body, duration) = match ended {
        Err(_) => {
            sandbox.kill();
            (Err(Failure::TimedOut { timeout }), timeout)
        }
        Ok(Err(_) | Ok(Ending::Undelivered)) => match mishap {
            Some(Mishap::Kill { .. }) => (Err(killed()), Duration::ZERO),
            Some(Mishap::Oversize) | None => return None,
        },
        // A kill is a kill, also when the answer was faster.
        Ok(Ok(Ending::Answered { duration, .. })) if matches!(mishap, Some(Mishap::Kill { .. })) => {
            sandbox.kill();
            (Err(killed()), duration)
        }
        Ok(Ok(Ending::Answered { body, duration, .. })) if mishap == Some(Mishap::Oversize) => {
            let bytes = body.len().max(crate::report::MAXIMUM_RESPONSE_BYTES + 1);
            (Err(Failure::ResponseTooLarge { bytes }), duration + extra)
        }
        Ok(Ok(Ending::Answered { body, error, duration })) => (Ok((body, error)), duration + extra),
        Ok(Ok(Ending::TooLarge { bytes, duration })) => {
            (Err(Failure::ResponseTooLarge { bytes }), duration + extra)
        }
        Ok(Ok(Ending::Failed { failure, duration })) => (Err(failure), duration + extra),
    };
    Some(Outcome { body, duration, init, lost_init, was_cold, sandbox: Some(sandbox) })
}

/// What is seen of a sandbox that was killed.
fn killed() -> Failure {
    Failure::Exited { how: Some("signal: killed".to_owned()) }
}

fn kill_later(sandbox: &Arc<Sandbox>, after: Duration) {
    let sandbox = Arc::clone(sandbox);
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        sandbox.kill();
    });
}

/// Turns an outcome into the answer's parts, counts it, and puts the sandbox back.
fn write_up(fleet: &Arc<Fleet>, request_id: &str, outcome: Outcome, with_tail: bool) -> Execution {
    let Outcome { body, duration, init, lost_init, was_cold, sandbox } = outcome;
    let billed = billed_ms(duration, init.or(lost_init));
    let (body, error, failure) = match body {
        Ok((body, error)) => (body, error, None),
        Err(failure) => {
            (Bytes::from(failure.body(request_id)), Some(FunctionError::Unhandled), Some(failure))
        }
    };
    fleet.account.executed(billed, was_cold, error.is_some());
    let tail = sandbox.as_ref().filter(|sandbox| with_tail || sandbox.logs.forwards()).map(|sandbox| {
        let report = Report {
            duration,
            init,
            billed_ms: billed,
            memory_mib: fleet.version.memory_mib,
            memory_peak_bytes: sandbox.cell.memory_peak_bytes(),
            failure: failure.clone(),
        };
        let end = closing_lines(request_id, &report);
        if sandbox.logs.forwards() {
            tracing::info!(function = %fleet.version.name, "{}", end.trim_end());
        }
        sandbox.logs.tail(&end)
    });
    let reusable = matches!(failure, None | Some(Failure::ResponseTooLarge { .. }));
    if let Some(sandbox) = sandbox.filter(|_| reusable) {
        fleet.give_back(sandbox);
    }
    Execution { body, error, tail: tail.filter(|_| with_tail) }
}

fn closing_lines(request_id: &str, report: &Report) -> String {
    let mut text = String::new();
    match &report.failure {
        Some(failure @ Failure::TimedOut { .. }) => {
            text +=
                &format!("{} {request_id} {}\n\n", clock::log_timestamp(SystemTime::now()), failure.reason());
        }
        Some(failure) => {
            text +=
                &format!("RequestId: {request_id} Error: {}\n{}\n", failure.reason(), failure.error_type())
        }
        None => {}
    }
    text += &format!("END RequestId: {request_id}\n{}", report.line(request_id));
    text
}

/// The function's time-out.
pub(crate) fn timeout_of(fleet: &Fleet) -> Duration {
    Duration::from_secs(u64::from(fleet.version.timeout_seconds))
}
