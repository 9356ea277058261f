//! Wishes that cannot be granted, each with what can.

use super::plan::BulkPlan;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BulkError {
    /// No cut ends in time.
    #[error(
        "`finish_within` of {wanted_s:.1} s cannot be kept: the fastest plan takes {:.1} s (at most {:.1} s with the wanted confidence) for ${:.4}",
        .fastest.seconds.expected, .fastest.seconds.high, .fastest.usd.expected
    )]
    TooShort {
        /// Seconds that were wanted.
        wanted_s: f64,
        /// What is possible.
        fastest: Box<BulkPlan>,
    },
    /// No cut is as cheap.
    #[error(
        "`max_usd` of ${wanted_usd:.4} is too little: the cheapest plan costs ${:.4} (at most ${:.4} with the wanted confidence) and takes {:.1} s",
        .cheapest.usd.expected, .cheapest.usd.high, .cheapest.seconds.expected
    )]
    TooLittle {
        /// Dollars that were wanted.
        wanted_usd: f64,
        /// What is possible.
        cheapest: Box<BulkPlan>,
    },
    /// Each wish alone can be kept, both cannot.
    #[error(
        "`finish_within` of {wanted_s:.1} s costs at least ${:.4}, more than `max_usd` of ${wanted_usd:.4}; for that the job takes {:.1} s",
        .in_time.usd.high, .in_budget.seconds.expected
    )]
    Conflict {
        /// Seconds that were wanted.
        wanted_s: f64,
        /// Dollars that were wanted.
        wanted_usd: f64,
        /// The cheapest plan that ends in time.
        in_time: Box<BulkPlan>,
        /// The fastest plan within the dollars.
        in_budget: Box<BulkPlan>,
    },
    /// One item alone is larger than a request or an answer may be.
    #[error("one item of {bytes:.0} bytes does not fit into {largest} bytes")]
    ItemTooLarge {
        /// Mean bytes of an item.
        bytes: f64,
        /// Bound.
        largest: u64,
    },
    /// No memory size holds the model, or no chunk ends in time for the function.
    #[error(
        "the model fits none of the memory sizes, or its smallest chunk takes longer than {longest_chunk_s:.0} s on each of them"
    )]
    NowhereToRun {
        /// The bound of a chunk.
        longest_chunk_s: f64,
    },
    /// A bound or a job that cannot be used.
    #[error("`{field}` {reason}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
}
