//! Plans with times: for an oracle, and for plan changes at a chosen moment.
//!
//! Rule: a plan is handed out at the end of the window in which its time lies, or of the window that ends at it. Of several that are due the
//! last counts. Revisions are given here, ascending, whatever the plans carry.

use std::collections::VecDeque;
use std::time::Duration;

use gateway_contract::{Mebibytes, PlanRevision, ServingPlan, Timestamp, WindowStats};

use super::{Controller, NextPlan};

/// Plans by the second from which they are wanted.
#[derive(Clone, Debug)]
pub struct Scheduled {
    first: ServingPlan,
    coming: VecDeque<(Timestamp, NextPlan)>,
    revision: PlanRevision,
}

impl Scheduled {
    /// `first` from the start, each of `later` from its second on (ascending), on whatever is warm.
    #[must_use]
    pub fn new(first: ServingPlan, later: impl IntoIterator<Item = (f64, ServingPlan)>) -> Self {
        Self::warmed(first, later.into_iter().map(|(at_s, plan)| (at_s, plan, Vec::new())))
    }

    /// The same, each with the environments that it wants before it serves.
    #[must_use]
    pub fn warmed(
        first: ServingPlan,
        later: impl IntoIterator<Item = (f64, ServingPlan, Vec<(Mebibytes, u32)>)>,
    ) -> Self {
        let at = |seconds: f64| Timestamp::ZERO + Duration::from_secs_f64(seconds.max(0.0));
        let coming =
            later.into_iter().map(|(at_s, plan, warm)| (at(at_s), NextPlan { plan, warm })).collect();
        Self { revision: first.revision, first, coming }
    }
}

impl Controller for Scheduled {
    fn initial_plan(&mut self) -> ServingPlan {
        self.first.clone()
    }

    fn handle_window(&mut self, stats: &WindowStats) -> Vec<NextPlan> {
        let mut due = None;
        while self.coming.front().is_some_and(|(at, _)| *at <= stats.ended_at) {
            due = self.coming.pop_front();
        }
        let Some((_, mut next)) = due else { return Vec::new() };
        next.plan.parent = Some(self.revision);
        self.revision.0 += 1;
        next.plan.revision = self.revision;
        vec![next]
    }
}
