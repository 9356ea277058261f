//! Runs a world under watch and says what did not hold.

use std::collections::BTreeMap;

use gateway_contract::{ModelId, Timestamp};

use super::rules::{Findings, Rule};
use super::watch::Watch;
use super::world::{Steering, World};
use crate::deployment::run;

/// What came of a world.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What did not hold.
    pub findings: Findings,
    /// Equal for equal logs; `None` if it was not asked for.
    pub fingerprint: Option<u64>,
    /// Requests that arrived.
    pub requests: u64,
    /// Batches that were sent.
    pub batches: u64,
}

/// Runs a world once.
#[must_use]
pub fn check(world: &World) -> Verdict {
    judge(world, |watch| watch)
}

fn judge(world: &World, prepare: impl FnOnce(Watch) -> Watch) -> Verdict {
    let exploration = (0..).zip(&world.models).filter_map(|(at, model)| match &model.steering {
        Steering::Tuner(settings, _) => Some((ModelId(at), settings.exploration)),
        Steering::Plans(_) => None,
    });
    let mut watch = prepare(Watch::new(world.account.clone(), exploration.collect::<BTreeMap<_, _>>()));
    let ended = world.config().map_err(|error| error.to_string());
    let ended = ended.and_then(|config| run(config, &mut watch).map_err(|error| error.to_string()));
    match ended {
        Ok(report) => watch.close(&report),
        Err(error) => watch.findings_mut().note(Rule::Idle, Timestamp::ZERO, || error),
    }
    let (requests, batches) = watch.volume();
    Verdict { findings: watch.findings().clone(), fingerprint: watch.fingerprint(), requests, batches }
}

/// Runs a world twice: what holds must hold, and both logs must be equal.
#[must_use]
pub fn check_twice(world: &World) -> Verdict {
    let mut verdict = judge(world, Watch::with_fingerprint);
    let again = judge(world, Watch::with_fingerprint);
    verdict.findings.check(
        verdict.fingerprint == again.fingerprint,
        Rule::EqualLogs,
        Timestamp::ZERO,
        || format!("fingerprints {:x?} and {:x?} of one seed", verdict.fingerprint, again.fingerprint),
    );
    verdict
}
