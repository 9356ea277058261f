//! The least memory that a model needs, by processes: learned from what sandboxes report, and from those that died.
//!
//! Rule: used(p) = shared + p·private. With one process count observed, a third of what it used is taken as private to each process; with
//! two, the line through them. A tenth is added. Whatever ran out of memory is never tried again, nor anything smaller or with more processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Added to what was used.
const HEADROOM: f64 = 1.1;
/// Share of a sandbox's memory that one process alone is taken to hold, before two process counts were seen.
const PRIVATE_SHARE: f64 = 0.33;
/// Sizes that ran out of memory are remembered for so many entries.
const MAX_FAILED: usize = 64;

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFloor {
    /// Largest use seen, MiB, by process count.
    used: BTreeMap<u32, u32>,
    /// Process count and MiB that ran out of memory.
    failed: Vec<(u32, u32)>,
}

impl MemoryFloor {
    /// A sandbox with `process_count` processes reported that it has used `used_mib`.
    pub fn used(&mut self, process_count: u32, used_mib: u32) {
        let most = self.used.entry(process_count).or_default();
        *most = (*most).max(used_mib);
    }

    /// A sandbox ran out of memory. Whether that was news.
    pub fn ran_out(&mut self, process_count: u32, memory_mib: u32) -> bool {
        if self.has_failed(process_count, memory_mib) || self.failed.len() >= MAX_FAILED {
            return false;
        }
        self.failed.push((process_count, memory_mib));
        true
    }

    /// Least memory for so many processes, MiB.
    #[must_use]
    pub fn least_mib(&self, process_count: u32) -> f64 {
        let points: Vec<(f64, f64)> =
            self.used.iter().map(|(&processes, &used)| (f64::from(processes), f64::from(used))).collect();
        let wanted = f64::from(process_count);
        let (Some(&(first_p, first)), Some(&(last_p, last))) = (points.first(), points.last()) else {
            return 0.0;
        };
        let private = if points.len() >= 2 {
            ((last - first) / (last_p - first_p)).max(0.0)
        } else {
            PRIVATE_SHARE * first / first_p
        };
        HEADROOM * (first + private * (wanted - first_p).max(1.0 - first_p)).max(0.0)
    }

    /// Whether this size may be tried.
    #[must_use]
    pub fn allows(&self, process_count: u32, memory_mib: u32) -> bool {
        f64::from(memory_mib) >= self.least_mib(process_count) && !self.has_failed(process_count, memory_mib)
    }

    fn has_failed(&self, process_count: u32, memory_mib: u32) -> bool {
        self.failed.iter().any(|&(processes, memory)| memory >= memory_mib && processes <= process_count)
    }

    /// Whether every number is usable.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.used.len() <= 64
            && self.failed.len() <= MAX_FAILED
            && self.used.iter().all(|(&p, &used)| (1..=64).contains(&p) && used <= 20_480)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_process_counts_give_the_line() {
        let mut floor = MemoryFloor::default();
        assert!(floor.allows(6, 128));
        floor.used(1, 300);
        floor.used(2, 340);
        assert!(floor.allows(6, 551) && !floor.allows(6, 549));
        assert!(floor.allows(1, 331) && !floor.allows(1, 329));
    }

    #[test]
    fn what_ran_out_of_memory_is_out_with_everything_smaller() {
        let mut floor = MemoryFloor::default();
        assert!(floor.ran_out(2, 1024));
        assert!(!floor.ran_out(3, 512));
        assert!(!floor.allows(2, 1024) && !floor.allows(2, 512) && !floor.allows(3, 1024));
        assert!(floor.allows(1, 512) && floor.allows(2, 1769));
    }
}
