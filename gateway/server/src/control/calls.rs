//! No-op calls: warm-ups before a switch to another memory size, and probes of the aliases that must be there.
//!
//! A probe tells three cases apart: the alias answers, it is refused for good (no such alias, another protocol version, another
//! model), or nothing can be said (throttled, out of reach). Only the first two change anything.

use std::sync::Arc;

use gateway_contract::{ModelId, PlanRevision, Rung};
use gateway_invoker::{InvocationReply, InvokeError, Metering, RefusedCause, WarmUp};
use workers_protocol::{Answer, ProtocolError};

use crate::driver::Invoke;
use crate::lifecycle::Steered;

/// What a call showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It answered.
    Answers,
    /// It is refused for good.
    Refused(RefusedCause),
    /// Nothing can be said.
    Unclear,
}

impl Found {
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Answers => "ok",
            Self::Refused(_) => "refused",
            Self::Unclear => "unclear",
        }
    }
}

/// Why the calls were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Before this revision is put into force.
    WarmUp(PlanRevision),
    /// To see whether it is there.
    Probe,
}

/// What the calls to one rung's alias showed.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) rung: Rung,
    /// One for each call.
    pub(super) found: Vec<(Found, Option<Metering>)>,
}

/// What all of them showed.
#[derive(Debug)]
pub(super) struct CallsDone {
    pub(super) model: ModelId,
    pub(super) purpose: Purpose,
    pub(super) called: Vec<Called>,
}

/// No-op calls to the aliases of some rungs.
pub(super) struct Calls {
    pub(super) model: ModelId,
    pub(super) purpose: Purpose,
    warm_ups: Vec<(Rung, WarmUp, usize)>,
}

impl Calls {
    /// `count` overlapping calls to each of `rungs`.
    pub(super) fn new(
        steered: &Steered,
        purpose: Purpose,
        rungs: impl IntoIterator<Item = (Rung, usize)>,
    ) -> Self {
        let model = (&*steered.manifest.0, &*steered.manifest.1);
        let warm_ups = rungs.into_iter().map(|(rung, count)| {
            let qualifier = Arc::from(rung.qualifier.as_str());
            let warm_up = WarmUp::new(steered.function.clone(), qualifier, model, rung.process_count);
            (rung, warm_up, count)
        });
        Self { model: steered.id, purpose, warm_ups: warm_ups.collect() }
    }

    /// Makes them, all at once.
    pub(super) async fn run<S: Invoke>(self, invoker: S) -> CallsDone {
        let mut running = tokio::task::JoinSet::new();
        for (rung, warm_up, count) in self.warm_ups {
            let invoker = invoker.clone();
            running.spawn(async move {
                let results = tokio::time::timeout(WarmUp::LIMIT, warm_up.run(&invoker, count)).await;
                let found = match results {
                    Ok(results) => results.iter().map(judge).collect(),
                    Err(_) => vec![(Found::Unclear, None); count],
                };
                Called { rung, found }
            });
        }
        CallsDone { model: self.model, purpose: self.purpose, called: running.join_all().await }
    }
}

fn judge(result: &Result<InvocationReply, InvokeError>) -> (Found, Option<Metering>) {
    match result {
        Ok(reply) => match Answer::decode(&reply.payload) {
            Err(ProtocolError::VersionMismatch { .. }) => {
                (Found::Refused(RefusedCause::ProtocolMismatch), Some(reply.metering))
            }
            Ok(_) | Err(_) => (Found::Answers, Some(reply.metering)),
        },
        Err(InvokeError::Refused { cause, .. }) if is_final(*cause) => (Found::Refused(*cause), None),
        Err(error) => (Found::Unclear, error.metering().copied()),
    }
}

/// Whether nothing but a change of the function mends it.
pub(super) fn is_final(cause: RefusedCause) -> bool {
    matches!(cause, RefusedCause::NotFound | RefusedCause::ProtocolMismatch | RefusedCause::ModelMismatch)
}
