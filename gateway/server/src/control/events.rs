//! Tuner events → log lines, each with all the numbers that the decision rested on.

use optimizer_tuner::{TunerAction, TunerEvent};

/// Logs an event: loudly where something went wrong, in the background where nothing changed.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an event names its action itself; these arms only choose loudness and words"
)]
pub(super) fn log_event(model: &str, event: &TunerEvent) {
    let numbers = serde_json::to_string(event).unwrap_or_default();
    match &event.what {
        TunerAction::RolledBack { .. } => tracing::warn!(model, event = %numbers, "a plan was given up"),
        TunerAction::Blind { .. } => {
            tracing::warn!(model, event = %numbers, "nothing usable is observed: the configured plan serves");
        }
        TunerAction::Infeasible { .. } => {
            tracing::warn!(model, event = %numbers, "no plan keeps the latency objective: the least late one serves");
        }
        TunerAction::MemoryFloor { .. } => {
            tracing::warn!(model, event = %numbers, "a memory size is too small for so many processes");
        }
        TunerAction::ChangePoint { .. } => tracing::info!(model, event = %numbers, "the load changed"),
        TunerAction::Switched { .. } => tracing::info!(model, event = %numbers, "another plan was chosen"),
        TunerAction::TrialStarted { .. } => tracing::info!(model, event = %numbers, "a trial began"),
        TunerAction::TrialEnded { .. } => tracing::info!(model, event = %numbers, "a trial ended"),
        TunerAction::Drift { .. } => tracing::info!(model, event = %numbers, "service times have drifted"),
        TunerAction::Kept { .. } => tracing::debug!(model, event = %numbers, "the plan in force was kept"),
        TunerAction::Refreshed { .. } => {
            tracing::debug!(model, event = %numbers, "the plan in force closes batches by fresh service times")
        }
        _ => tracing::info!(model, event = %numbers, "the tuner acted"),
    }
}
