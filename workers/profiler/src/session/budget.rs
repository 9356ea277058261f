//! What an experiment has spent, and whether the next run still fits.

use std::time::Duration;

use crate::experiment::Budget;
use crate::invocation::Run;

/// Which part of a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetKind {
    /// Dollars.
    Usd,
    /// Time.
    Time,
}

/// Sums over all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Runs that count.
    pub(super) runs: u64,
    /// Dollars of all runs.
    pub(super) usd: f64,
    /// Time of all runs.
    pub(super) time: Duration,
}

/// What one more run is expected to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Next {
    pub(super) usd: f64,
    pub(super) time: Duration,
}

impl Tally {
    pub(super) fn of(runs: &[Run]) -> Self {
        let mut tally = Self::default();
        runs.iter().for_each(|run| tally.add(run));
        tally
    }

    pub(super) fn add(&mut self, run: &Run) {
        self.runs += u64::from(run.is_true_to_kind());
        self.usd += run.cost_usd();
        self.time += Duration::from_millis(run.spent_ms);
    }

    /// The part of the budget that would not last for one more run.
    pub(super) fn exceeds(&self, budget: &Budget, next: Next) -> Option<BudgetKind> {
        if budget.usd.is_some_and(|usd| self.usd + next.usd > usd) {
            return Some(BudgetKind::Usd);
        }
        budget.time.is_some_and(|time| self.time + next.time > time).then_some(BudgetKind::Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_would_pass_the_budget_is_not_begun() {
        let tally = Tally { runs: 1, usd: 0.9, time: Duration::from_secs(50) };
        let next = |usd, seconds| Next { usd, time: Duration::from_secs(seconds) };
        let budget = Budget { usd: Some(1.0), time: Some(Duration::from_secs(60)) };
        assert_eq!(tally.exceeds(&budget, next(0.05, 5)), None);
        assert_eq!(tally.exceeds(&budget, next(0.2, 5)), Some(BudgetKind::Usd));
        assert_eq!(tally.exceeds(&budget, next(0.05, 11)), Some(BudgetKind::Time));
        assert_eq!(tally.exceeds(&Budget::default(), next(1e9, 1_000_000)), None);
    }
}
