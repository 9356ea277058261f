//! What has to be warmed before a plan serves. Every shell asks here, so that what is simulated is what is served.
//!
//! Rule: a size counts as warm while it has answered lately. Of every other size that a plan uses, as many environments are wanted as the plan is
//! expected to keep busy; of a canary's, one. Deliberately absent: the warming, and when an alias has answered (the shell's).

use std::time::Duration;

use gateway_contract::{Rung, ServingPlan};

/// How long Lambda keeps an idle environment at the least, as far as is known: an alias that answered within this time is warm.
pub const STAYS_WARM: Duration = Duration::from_secs(300);

/// Rungs of `plan` that are not warm, one for each alias, with the environments wanted: `busy` (mean invocations in flight; 1 where it is not
/// finite) rounded up, at least 1 and at most `most`. `most` 0: none.
pub fn cold_rungs(
    plan: &ServingPlan,
    busy: f64,
    most: u32,
    is_warm: impl Fn(&Rung) -> bool,
) -> Vec<(Rung, u32)> {
    let mut cold: Vec<(Rung, u32)> = Vec::new();
    if most == 0 {
        return cold;
    }
    let busy = if busy.is_finite() { busy } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1 to `most`")]
    let wanted = busy.ceil().clamp(1.0, f64::from(most)) as u32;
    let serving = plan.rungs.iter().map(|rung| (rung, wanted));
    let canary = plan.canary.iter().map(|canary| (&canary.rung, 1));
    for (rung, count) in serving.chain(canary).filter(|(rung, _)| !is_warm(rung)) {
        if !cold.iter().any(|(other, _)| other.qualifier == rung.qualifier) {
            cold.push((rung.clone(), count));
        }
    }
    cold
}
