//! One plan, always.

use gateway_contract::{ServingPlan, WindowStats};

use super::{Controller, NextPlan};

/// Never changes its plan.
#[derive(Clone, Debug)]
pub struct FixedPlan(ServingPlan);

impl FixedPlan {
    /// Serves this plan.
    #[must_use]
    pub fn new(plan: ServingPlan) -> Self {
        Self(plan)
    }
}

impl Controller for FixedPlan {
    fn initial_plan(&mut self) -> ServingPlan {
        self.0.clone()
    }

    fn wants_windows(&self) -> bool {
        false
    }

    fn handle_window(&mut self, _stats: &WindowStats) -> Vec<NextPlan> {
        Vec::new()
    }
}
