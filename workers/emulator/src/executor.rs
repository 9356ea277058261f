//! Running one admitted invocation to its end: a warm or a new sandbox, INIT with its limit and its second try, the
//! time-out, the figures. Runs in a task of its own, so that a client that leaves changes nothing, as on AWS.

use crate::billing::billed_ms;
use crate::clock;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::limits::ThrottleReason;
use crate::report::{Failure, Report, init_report};
use crate::sandbox::{Ending, Event, FunctionError, InitEnding, Sandbox, StartError, Surroundings, start};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// First look for new processes after the start of an INIT or an invocation.
const SETTLE_AFTER: Duration = Duration::from_millis(2);

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
struct Outcome {
    body: Result<(Bytes, Option<FunctionError>), Failure>,
    duration: Duration,
    init: Option<Duration>,
    /// INIT that failed and was run again: billed, though not in the report's Init Duration.
    lost_init: Option<Duration>,
    was_cold: bool,
    sandbox: Option<Arc<Sandbox>>,
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
            Some(sandbox) => Ready {
                sandbox,
                init: None,
                lost_init: None,
                was_cold: false,
                phase_start: None,
            },
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
    Ok(Outcome {
        body,
        duration: Duration::ZERO,
        init: None,
        lost_init: None,
        was_cold: true,
        sandbox: None,
    })
}

/// A sandbox that waits for its event.
struct Ready {
    sandbox: Arc<Sandbox>,
    init: Option<Duration>,
    lost_init: Option<Duration>,
    was_cold: bool,
    /// Start of the invoke phase, where a second INIT already belongs to it.
    phase_start: Option<Instant>,
}

/// Starts a sandbox and waits for its INIT: within INIT's own limit first, then once more inside the invoke phase under
/// the function's time-out.
async fn initialise(host: &Arc<Host>, fleet: &Arc<Fleet>, event: &Event) -> Result<Ready, Box<Outcome>> {
    let limit = Duration::from_millis(host.config.lifecycle.init_limit_ms);
    let begin = Instant::now();
    let first = try_init(host, fleet, limit).await;
    let (note, lost) = match first {
        Ok((sandbox, init)) => {
            return Ok(Ready {
                sandbox,
                init: Some(init),
                lost_init: None,
                was_cold: true,
                phase_start: None,
            });
        }
        Err(failed) => (failed.note("init"), begin.elapsed().min(limit)),
    };
    let phase_start = Instant::now();
    let timeout = timeout_of(fleet);
    match try_init(host, fleet, timeout).await {
        Ok((sandbox, _)) => {
            sandbox.logs.platform(&note);
            Ok(Ready {
                sandbox,
                init: None,
                lost_init: Some(lost),
                was_cold: true,
                phase_start: Some(phase_start),
            })
        }
        Err(failed) => {
            let body = match failed.kind {
                FailedKind::TimedOut => Err(Failure::TimedOut { timeout }),
                FailedKind::Reported(body) => Ok((body, Some(FunctionError::Unhandled))),
                FailedKind::Failed(failure) => Err(failure),
            };
            tracing::debug!(function = %fleet.version.name, request_id = %event.request_id, "INIT failed twice");
            let duration = phase_start.elapsed().min(timeout);
            if let Some(sandbox) = &failed.sandbox {
                sandbox.logs.platform(&note);
            }
            Err(Box::new(Outcome {
                body,
                duration,
                init: None,
                lost_init: Some(lost),
                was_cold: true,
                sandbox: failed.sandbox,
            }))
        }
    }
}

/// An INIT that did not end well.
struct FailedInit {
    kind: FailedKind,
    duration: Duration,
    sandbox: Option<Arc<Sandbox>>,
}

enum FailedKind {
    TimedOut,
    Reported(Bytes),
    Failed(Failure),
}

impl FailedInit {
    /// Its INIT_REPORT line.
    fn note(&self, phase: &str) -> String {
        match &self.kind {
            FailedKind::TimedOut => init_report(self.duration, phase, "timeout", None),
            FailedKind::Reported(_) => init_report(self.duration, phase, "error", Some("Runtime.Unknown")),
            FailedKind::Failed(failure) => {
                init_report(self.duration, phase, "error", Some(failure.error_type()))
            }
        }
    }
}

async fn try_init(
    host: &Arc<Host>,
    fleet: &Arc<Fleet>,
    limit: Duration,
) -> Result<(Arc<Sandbox>, Duration), FailedInit> {
    let begin = Instant::now();
    let (sandbox, ending) = match start_sandbox(host, fleet).await {
        Ok(started) => started,
        Err(error) => {
            tracing::warn!(function = %fleet.version.name, %error, "a sandbox could not be started");
            let kind = FailedKind::Failed(error.failure());
            return Err(FailedInit {
                kind,
                duration: begin.elapsed(),
                sandbox: None,
            });
        }
    };
    let ended = tokio::time::timeout(limit, settling(&sandbox, ending)).await;
    let kind = match ended {
        Ok(Ok(InitEnding::Ready(duration))) => {
            sandbox.cell.settle();
            return Ok((sandbox, duration));
        }
        Ok(Ok(InitEnding::Reported { body })) => FailedKind::Reported(body),
        Ok(Ok(InitEnding::Failed(failure))) => FailedKind::Failed(failure),
        Ok(Err(_)) => FailedKind::Failed(Failure::Exited { how: None }),
        Err(_) => FailedKind::TimedOut,
    };
    sandbox.kill();
    Err(FailedInit {
        kind,
        duration: begin.elapsed(),
        sandbox: Some(sandbox),
    })
}

async fn start_sandbox(
    host: &Arc<Host>,
    fleet: &Arc<Fleet>,
) -> Result<(Arc<Sandbox>, oneshot::Receiver<InitEnding>), StartError> {
    let around = Surroundings {
        meter: &*host.meter,
        lifecycle: host.config.lifecycle,
        region: &host.config.region,
        forward_logs: host.config.forward_logs,
        id: host.next_sandbox_id(),
    };
    let (gone_from, guard) = (Arc::clone(fleet), host.sandbox_guard());
    let started = start(around, &fleet.version, move |id| {
        gone_from.forget(id);
        drop(guard);
    });
    let (sandbox, ending) = started.await?;
    fleet.add(&sandbox);
    Ok((sandbox, ending))
}

/// Waits for `future`, giving new processes of the sandbox their own caps meanwhile.
async fn settling<F: Future>(sandbox: &Sandbox, future: F) -> F::Output {
    let Some(every) = sandbox.cell.settle_every() else {
        return future.await;
    };
    // The event is on its way already: looking a moment later takes nothing from a short invocation.
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + SETTLE_AFTER, every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(future);
    loop {
        tokio::select! {
            output = &mut future => return output,
            _ = interval.tick() => sandbox.cell.settle(),
        }
    }
}

/// Hands `event` to the sandbox and waits for its end; `None` when it was not delivered.
async fn invoke(
    fleet: &Arc<Fleet>,
    ready: Ready,
    event: &Arc<Event>,
    mishap: Option<Mishap>,
    with_tail: bool,
) -> Option<Outcome> {
    let Ready {
        sandbox,
        init,
        lost_init,
        was_cold,
        phase_start,
    } = ready;
    let assigned = Instant::now();
    let begin = phase_start.unwrap_or(assigned);
    let timeout = timeout_of(fleet);
    let remaining = timeout.saturating_sub(assigned.saturating_duration_since(begin));
    let deadline_ms = clock::unix_millis(SystemTime::now() + remaining);
    if with_tail || sandbox.logs.forwards() {
        if !was_cold {
            sandbox.logs.clear();
        }
        sandbox.logs.platform(&format!(
            "START RequestId: {} Version: {}\n",
            event.request_id, fleet.version.version
        ));
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
        Ok(Ok(Ending::Answered {
            body,
            error,
            duration,
        })) => (Ok((body, error)), duration + extra),
        Ok(Ok(Ending::TooLarge { bytes, duration })) => {
            (Err(Failure::ResponseTooLarge { bytes }), duration + extra)
        }
        Ok(Ok(Ending::Failed { failure, duration })) => (Err(failure), duration + extra),
    };
    Some(Outcome {
        body,
        duration,
        init,
        lost_init,
        was_cold,
        sandbox: Some(sandbox),
    })
}

/// What is seen of a sandbox that was killed.
fn killed() -> Failure {
    Failure::Exited {
        how: Some("signal: killed".to_owned()),
    }
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
    let Outcome {
        body,
        duration,
        init,
        lost_init,
        was_cold,
        sandbox,
    } = outcome;
    let billed = billed_ms(duration, init.or(lost_init));
    let (body, error, failure) = match body {
        Ok((body, error)) => (body, error, None),
        Err(failure) => (
            Bytes::from(failure.body(request_id)),
            Some(FunctionError::Unhandled),
            Some(failure),
        ),
    };
    fleet.account.executed(billed, was_cold, error.is_some());
    let tail = sandbox
        .as_ref()
        .filter(|sandbox| with_tail || sandbox.logs.forwards())
        .map(|sandbox| {
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
    Execution {
        body,
        error,
        tail: tail.filter(|_| with_tail),
    }
}

fn closing_lines(request_id: &str, report: &Report) -> String {
    let mut text = String::new();
    match &report.failure {
        Some(failure @ Failure::TimedOut { .. }) => {
            text += &format!(
                "{} {request_id} {}\n\n",
                clock::log_timestamp(SystemTime::now()),
                failure.reason()
            );
        }
        Some(failure) => {
            text += &format!(
                "RequestId: {request_id} Error: {}\n{}\n",
                failure.reason(),
                failure.error_type()
            )
        }
        None => {}
    }
    text += &format!("END RequestId: {request_id}\n{}", report.line(request_id));
    text
}

fn timeout_of(fleet: &Fleet) -> Duration {
    Duration::from_secs(u64::from(fleet.version.timeout_seconds))
}
