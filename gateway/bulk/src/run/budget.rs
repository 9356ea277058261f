//! What a run costs, and whether one more invocation is still within the job's dollars. Pure.
//!
//! *Rule.* Before an invocation begins, what it may cost is set aside: the dearest one seen so far, scaled up by its items if it is larger. While none
//! was seen, that is the dearest that Lambda permits (15 minutes at this memory); if not even one of those fits, one alone may begin, as a
//! probe. An invocation begins only if what was spent, what is set aside and its own part stay within the budget.
//! *Bounds.* An invocation dearer than every one before it can pass the budget by the difference.

use crate::JobCost;

/// Dollars of a job.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    max_usd: Option<f64>,
    cost: JobCost,
    aside_usd: f64,
    aside: u32,
    /// Dearest invocation seen, and its items.
    dearest: Option<(f64, u32)>,
    /// Dollars of the longest invocation that Lambda permits.
    longest_usd: f64,
}

/// What is set aside for one invocation.
#[derive(Debug, PartialEq)]
pub(crate) struct Aside(f64);

/// Whether an invocation may begin.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It may.
    Begin(Aside),
    /// Not while others are under way: what they really cost may leave room.
    Wait,
    /// The budget is spent.
    Spent,
}

impl Budget {
    pub(crate) fn new(max_usd: Option<f64>, cost: JobCost, longest_usd: f64) -> Self {
        Self { max_usd, cost, aside_usd: 0.0, aside: 0, dearest: None, longest_usd }
    }

    /// Spent so far.
    pub(crate) const fn cost(&self) -> JobCost {
        self.cost
    }

    /// Somebody else's invocation, paid for by the job, cost this.
    pub(crate) fn spend(&mut self, cost: &JobCost) {
        self.cost.add(cost);
    }

    /// What an invocation of so many items may cost.
    fn expected_usd(&self, items: u32) -> f64 {
        self.dearest
            .map_or(self.longest_usd, |(usd, of)| usd * (f64::from(items) / f64::from(of.max(1))).max(1.0))
    }

    /// Asks for an invocation of so many items.
    pub(crate) fn ask(&mut self, items: u32) -> Verdict {
        let usd = self.expected_usd(items);
        if let Some(max_usd) = self.max_usd {
            let is_probe = self.dearest.is_none() && self.aside == 0 && self.cost.usd < max_usd;
            if self.cost.usd + self.aside_usd + usd > max_usd && !is_probe {
                return if self.aside > 0 { Verdict::Wait } else { Verdict::Spent };
            }
        }
        self.aside_usd += usd;
        self.aside += 1;
        Verdict::Begin(Aside(usd))
    }

    /// An invocation has ended; `cost` is empty if it did not run.
    pub(crate) fn settle(&mut self, aside: Aside, items: u32, cost: &JobCost) {
        self.aside_usd = (self.aside_usd - aside.0).max(0.0);
        self.aside = self.aside.saturating_sub(1);
        if self.aside == 0 {
            self.aside_usd = 0.0; // no rounding is carried on
        }
        self.cost.add(cost);
        if cost.invocations > 0 && self.dearest.is_none_or(|(usd, _)| cost.usd > usd) {
            self.dearest = Some((cost.usd, items));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(usd: f64) -> JobCost {
        JobCost { usd, invocations: 1, ..JobCost::default() }
    }

    fn begin(budget: &mut Budget, items: u32) -> Aside {
        match budget.ask(items) {
            Verdict::Begin(aside) => aside,
            other @ (Verdict::Wait | Verdict::Spent) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_budget_is_never_passed_by_invocations_like_those_before() {
        let mut budget = Budget::new(Some(1.0), JobCost::default(), 0.5);
        let mut under_way = vec![begin(&mut budget, 10)];
        budget.settle(under_way.pop().unwrap(), 10, &cost(0.09));
        let mut begun = 1;
        loop {
            match budget.ask(10) {
                Verdict::Begin(aside) => {
                    begun += 1;
                    under_way.push(aside);
                }
                Verdict::Wait => budget.settle(under_way.pop().unwrap(), 10, &cost(0.09)),
                Verdict::Spent => break,
            }
        }
        assert_eq!(begun, 11);
        assert!(budget.cost().usd <= 1.0);
    }

    #[test]
    fn before_anything_is_known_the_longest_invocation_is_set_aside() {
        let mut budget = Budget::new(Some(1.0), JobCost::default(), 0.4);
        let _two = [begin(&mut budget, 1), begin(&mut budget, 1)];
        assert_eq!(budget.ask(1), Verdict::Wait);
        let mut small = Budget::new(Some(0.01), JobCost::default(), 0.4);
        let _probe = begin(&mut small, 1);
        assert_eq!(small.ask(1), Verdict::Wait, "one probe alone");
        let mut spent = Budget::new(Some(0.01), cost(0.01), 0.4);
        assert_eq!(spent.ask(1), Verdict::Spent);
    }

    #[test]
    fn larger_invocations_are_expected_to_cost_more_and_smaller_ones_no_less() {
        let mut budget = Budget::new(None, JobCost::default(), 9.0);
        let aside = begin(&mut budget, 10);
        budget.settle(aside, 10, &cost(0.1));
        assert_eq!(budget.ask(20), Verdict::Begin(Aside(0.2)));
        assert_eq!(budget.ask(1), Verdict::Begin(Aside(0.1)));
    }
}
