//! What is asked and what is answered: job, bounds, plan. Plain values.

use std::time::Duration;

use gateway_contract::Mebibytes;

/// A job, as far as a plan depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BulkJob {
    /// Items, at least 1.
    pub items: u64,
    /// Encoded bytes of an item in a request, mean; at least 0.
    pub request_bytes_per_item: f64,
    /// Encoded bytes of an item's answer, mean; at least 0.
    pub response_bytes_per_item: f64,
    /// Work units of an item (for text: tokens), mean, as the model counts them after cutting long items; `None`: what the knowledge of
    /// the model says is usual.
    pub units_per_item: Option<f64>,
    /// What is wanted of time and dollars.
    pub wish: Wish,
}

/// What is wanted. Both `None`: the cheapest plan, or a faster one for at most 2 % more dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// All items done within this time. Alone: the cheapest plan that holds it.
    pub finish_within: Option<Duration>,
    /// At most so many dollars. Alone: the fastest plan that holds it. Both: the cheapest plan within the time, if the dollars allow it.
    pub max_usd: Option<f64>,
}

/// What a plan may use.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkBounds {
    /// Memory sizes that have an alias, ascending, at least one.
    pub memory_mib: Vec<Mebibytes>,
    /// Smallest and largest process count, 1 to 64.
    pub process_count: (u32, u32),
    /// Smallest and largest chunk, items, 1 to 10,000.
    pub chunk_items: (u32, u32),
    /// Fewest and most invocations at a time: what of the account's concurrency the job may use; at least 1.
    pub parallelism: (u32, u32),
    /// New environments of one function in 10 s; 0: no limit. Lambda's: 1,000.
    pub environments_per_10_s: u32,
    /// Largest encoded request, bytes, envelope excluded; at least 1.
    pub max_request_bytes: u64,
    /// Largest encoded answer, bytes; at least 1.
    pub max_response_bytes: u64,
    /// Longest that a chunk may take at the upper end of its law: below the function's time-out, and as long as live traffic may wait for a place and a
    /// cancel for its effect. More: larger chunks. Default 300 s.
    pub longest_chunk: Duration,
    /// Probability with which a wish is to be kept, 0.5 (its expected time and dollars) to 0.999. More: more environments for a deadline, fewer for a
    /// budget. Default 0.95.
    pub confidence: f64,
}

impl Default for BulkBounds {
    /// An ordinary account with the usual ladder of sizes.
    fn default() -> Self {
        Self {
            memory_mib: [512, 1024, 1769, 3008].map(Mebibytes).to_vec(),
            process_count: (1, 6),
            chunk_items: (1, 10_000),
            parallelism: (1, 1000),
            environments_per_10_s: 1000,
            max_request_bytes: 4_500_000,
            max_response_bytes: 4_500_000,
            longest_chunk: Duration::from_secs(300),
            confidence: 0.95,
        }
    }
}

/// How a job is cut and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BulkCut {
    /// Most items of an invocation.
    pub chunk_items: u32,
    /// Model processes of an environment.
    pub process_count: u32,
    /// Memory behind the alias.
    pub memory_mib: Mebibytes,
    /// Most invocations at a time, and so most environments.
    pub parallelism: u32,
}

/// A figure with bounds at the wanted confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// Expected.
    pub expected: f64,
    /// Above this with the wanted confidence ([`BulkBounds::confidence`]; 0.95: one in twenty is below).
    pub low: f64,
    /// Below this with the wanted confidence.
    pub high: f64,
}

/// A cut with what it is predicted to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BulkPlan {
    /// How.
    pub cut: BulkCut,
    /// From the first invocation to the last answer.
    pub seconds: Interval,
    /// Dollars of Lambda: duration, INIT and fees.
    pub usd: Interval,
    /// Of it, dollars of INIT, expected.
    pub init_usd: f64,
    /// Invocations, if none is retried.
    pub invocations: u64,
    /// Environments that start.
    pub environments: u32,
    /// Seconds of one full chunk, warm, expected.
    pub chunk_seconds: f64,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BulkChoice {
    /// The plan.
    pub plan: BulkPlan,
    /// The best of another memory size or process count, if one holds the wish too.
    pub runner_up: Option<BulkPlan>,
}
