//! What ends a run from outside: the one who runs it, and the clock.

use std::sync::Arc;
use std::time::Duration;

use super::shared::{Halt, Shared};
use crate::{JobFailure, UnixMillis, unix_millis};

/// A job for which Lambda has executed nothing for this long gives up; it can be run again.
const STALLED_AFTER: Duration = Duration::from_mins(10);
/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Watches until the run is halted. To be dropped when the run ends by itself.
pub(super) async fn watch(
    shared: Arc<Shared>,
    mut stop: tokio::sync::watch::Receiver<bool>,
    expires_at: Option<UnixMillis>,
) {
    let stopped = async {
        if stop.wait_for(|&stop| stop).await.is_err() {
            std::future::pending::<()>().await; // nobody can ask any more
        }
    };
    let ticks = async {
        loop {
            if expires_at.is_some_and(|at| unix_millis() >= at) {
                return Halt::Expired;
            }
            if shared.idle() >= STALLED_AFTER {
                let text = format!("Lambda has executed nothing for {} s", STALLED_AFTER.as_secs());
                return Halt::Failed(JobFailure::new("stalled", text));
            }
            tokio::time::sleep(TICK).await;
        }
    };
    let why = tokio::select! {
        () = stopped => Halt::Stopped,
        why = ticks => why,
        () = shared.until_halted() => return,
    };
    shared.stop(why);
}
