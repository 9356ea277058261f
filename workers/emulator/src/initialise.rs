//! A new sandbox and its INIT: within INIT's own limit first, then, if that failed, once more inside the invoke phase under
//! the function's time-out, as on AWS. What happens with the sandbox afterwards is the executor's matter.

use crate::executor::{Outcome, timeout_of};
use crate::fleet::Fleet;
use crate::host::Host;
use crate::report::{Failure, init_report};
use crate::sandbox::{Event, FunctionError, InitEnding, Sandbox, StartError, Surroundings, start};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// First look for new processes after the start of an INIT or an invocation.
const SETTLE_AFTER: Duration = Duration::from_millis(2);

/// A sandbox that waits for its event.
pub(crate) struct Ready {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) init: Option<Duration>,
    pub(crate) lost_init: Option<Duration>,
    pub(crate) was_cold: bool,
    /// Start of the invoke phase, where a second INIT already belongs to it.
    pub(crate) phase_start: Option<Instant>,
}

/// Starts a sandbox and waits for its INIT: within INIT's own limit first, then once more inside the invoke phase under
/// the function's time-out.
pub(crate) async fn initialise(
    host: &Arc<Host>,
    fleet: &Arc<Fleet>,
    event: &Event,
) -> Result<Ready, Box<Outcome>> {
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
            return Err(FailedInit { kind, duration: begin.elapsed(), sandbox: None });
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
    Err(FailedInit { kind, duration: begin.elapsed(), sandbox: Some(sandbox) })
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
pub(crate) async fn settling<F: Future>(sandbox: &Sandbox, future: F) -> F::Output {
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
