//! What a sweep writes down of one invocation.

use serde::{Deserialize, Serialize};

/// One invocation, one line of the sweep's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Memory of the version that ran, MiB.
    pub memory_mib: u32,
    /// Model processes that were asked for.
    pub process_count: u32,
    /// Items of the batch.
    pub items: u32,
    /// Work of the largest shard with padding, in the manifest's unit; 0 where the worker counts none.
    pub shard_padded_units: u64,
    /// Wall time of the handler, microseconds, without INIT.
    pub handler_us: u64,
    /// Billed duration, milliseconds, INIT included where it is billed.
    pub billed_ms: u64,
    /// INIT of a cold start, microseconds; absent (null) for a warm one.
    pub init_us: Option<u64>,
    /// Whether this was the first invocation of its environment. Such a record is not one of the measured ones.
    pub cold: bool,
    /// From sending to the answer, as this client saw it, microseconds.
    pub round_trip_us: u64,
    /// Largest memory that the environment has used so far, MiB.
    pub max_memory_used_mib: u32,
}
