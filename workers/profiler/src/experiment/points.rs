//! Operating points, and grids of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// MiB of one vCPU.
const MIB_PER_VCPU: f64 = 1769.0;

/// An operating point of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Memory, MiB, 128 to 10,240.
    pub memory_mib: u32,
    /// Model processes, 1 to 64.
    pub process_count: u32,
    /// Items per invocation, 1 to 10,000.
    pub items: u32,
    /// Invocations at once, 1 to 1,000.
    pub concurrency: u32,
}

/// A point that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` must be within {from} to {to}, is {value}")]
pub struct PointError {
    key: &'static str,
    from: u32,
    to: u32,
    value: u32,
}

impl Point {
    /// CPU credit of its memory, vCPUs.
    #[must_use]
    pub fn vcpus(&self) -> f64 {
        f64::from(self.memory_mib) / MIB_PER_VCPU
    }

    /// Refuses what Lambda or the worker cannot do.
    ///
    /// # Errors
    /// [`PointError`] names the value.
    pub fn check(&self) -> Result<(), PointError> {
        let bounds = [
            ("memory_mib", 128, 10_240, self.memory_mib),
            ("process_count", 1, 64, self.process_count),
            ("items", 1, 10_000, self.items),
            ("concurrency", 1, 1000, self.concurrency),
        ];
        let wrong = bounds.into_iter().find(|(_, from, to, value)| !(from..=to).contains(&value));
        wrong.map_or(Ok(()), |(key, from, to, value)| Err(PointError { key, from, to, value }))
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (processes, items) = (self.process_count, self.items);
        let (more_processes, more_items) =
            (if processes == 1 { "" } else { "es" }, if items == 1 { "" } else { "s" });
        write!(
            formatter,
            "{} MiB × {processes} process{more_processes}, {items} item{more_items}",
            self.memory_mib
        )?;
        if self.concurrency > 1 { write!(formatter, ", {} at once", self.concurrency) } else { Ok(()) }
    }
}

/// Values of each dimension; all combinations are points.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grid {
    memory_mib: Vec<u32>,
    #[serde(default = "one")]
    process_count: Vec<u32>,
    #[serde(default = "one")]
    items: Vec<u32>,
    #[serde(default = "one")]
    concurrency: Vec<u32>,
}

fn one() -> Vec<u32> {
    vec![1]
}

impl Grid {
    /// All combinations but those with more processes than items: the worker would leave the rest idle.
    pub(super) fn points(&self) -> BTreeSet<Point> {
        let mut points = BTreeSet::new();
        for &memory_mib in &self.memory_mib {
            for &process_count in &self.process_count {
                for &items in &self.items {
                    for &concurrency in &self.concurrency {
                        if process_count <= items || process_count == 1 {
                            points.insert(Point { memory_mib, process_count, items, concurrency });
                        }
                    }
                }
            }
        }
        points
    }
}
