//! The rules that hold in every world, and how a breach of one is told.

use gateway_contract::Timestamp;

/// What must hold, whatever Lambda does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Time never runs backwards, identities are not given twice, plans ascend.
    Order,
    /// A request is admitted, or refused for the reason that is named, and for no other.
    Admission,
    /// Every admitted request that was not cancelled is answered, once, and no other is.
    ExactlyOnce,
    /// An answer holds the results of its own items: all of them, each as its last batch ended.
    OwnAnswer,
    /// An item is in one place at a time: it waits, or one batch holds it, or it has its result.
    OnePlace,
    /// A batch is formed by the plan in force and within its bounds, and runs where the plan says.
    PlanBounds,
    /// A batch closes for one of the plan's reasons, and says which.
    CloseReason,
    /// Items leave the queue in the order of the packing policy.
    PackingOrder,
    /// What waits is within the queue's capacity.
    QueueBounds,
    /// No more invocations run than the plan, a pause or the account allows.
    InFlight,
    /// What is due goes out: nothing waits past its delay, its deadline or its back-off while there is room.
    NothingWaits,
    /// A hard deadline is kept: nobody is answered after it, and nothing dead is started.
    Deadline,
    /// Attempts, back-offs, unknown outcomes and bisections are within their bounds.
    Retries,
    /// Retries are within the budget, and none is denied that the budget allows.
    RetryBudget,
    /// Canaries take their share of the batches and no more.
    CanaryShare,
    /// Items that run alone to be measured do so in their turn, one after the other.
    HoldOuts,
    /// No-op calls are made only where the plan has a use for them, and end once.
    Calls,
    /// Exploration costs no more than its budget.
    ExplorationDollars,
    /// The sum over what was counted is the sum of the bills.
    Money,
    /// Requests that were counted are those that arrived, answered, shed and failed ones.
    Counts,
    /// At the end nothing waits and nothing runs.
    Idle,
    /// Equal inputs give equal logs.
    EqualLogs,
}

/// A rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When.
    pub at: Timestamp,
    /// What was seen, with its numbers.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {:.6} s: {}", self.rule, self.at.as_nanos() as f64 / 1e9, self.what)
    }
}

/// Violations kept of one world: the first says most, the others follow from it.
const MAX_KEPT: usize = 16;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    found: Vec<Violation>,
    count: u64,
}

impl Findings {
    /// Notes a breach.
    pub(crate) fn note(&mut self, rule: Rule, at: Timestamp, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.found.len() < MAX_KEPT {
            self.found.push(Violation { rule, at, what: what() });
        }
    }

    /// Notes a breach unless `holds`.
    pub(crate) fn check(&mut self, holds: bool, rule: Rule, at: Timestamp, what: impl FnOnce() -> String) {
        if !holds {
            self.note(rule, at, what);
        }
    }

    /// The first ones, in order.
    #[must_use]
    pub fn first(&self) -> &[Violation] {
        &self.found
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}
