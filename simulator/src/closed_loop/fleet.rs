//! Sandboxes by alias: which are warm, what a cold one costs.
//!
//! Rule: an invocation takes the sandbox of its size that was idle for the shortest time; one that was idle for [`KEEP_ALIVE_S`] is gone. With none,
//! a new one is started, and its INIT comes first and is billed. Source: AWS Lambda documentation for the reuse of environments and for
//! billed INIT; the keep-alive is not documented, five minutes are commonly measured.

use std::collections::BTreeMap;

/// Idle time after which a sandbox is taken away, seconds.
const KEEP_ALIVE_S: f64 = 300.0;

/// Idle sandboxes by size: when each became idle, ascending.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    idle: BTreeMap<u32, Vec<f64>>,
    busy: BTreeMap<u32, u32>,
}

impl Fleet {
    /// Takes a sandbox. Whether it is cold.
    pub(super) fn take(&mut self, memory_mib: u32, now_s: f64) -> bool {
        *self.busy.entry(memory_mib).or_default() += 1;
        let idle = self.idle.entry(memory_mib).or_default();
        idle.retain(|&since| now_s - since < KEEP_ALIVE_S);
        // One that is still being warmed is not idle yet.
        match idle.iter().rposition(|&since| since <= now_s) {
            Some(index) => {
                idle.remove(index);
                false
            }
            None => true,
        }
    }

    /// Gives it back.
    pub(super) fn give_back(&mut self, memory_mib: u32, now_s: f64) {
        if let Some(busy) = self.busy.get_mut(&memory_mib) {
            *busy = busy.saturating_sub(1);
        }
        self.put(memory_mib, now_s);
    }

    /// Sandboxes of a size, warm or in work.
    pub(super) fn count(&self, memory_mib: u32, now_s: f64) -> u32 {
        let idle = self
            .idle
            .get(&memory_mib)
            .map_or(0, |idle| idle.iter().filter(|&&since| now_s - since < KEEP_ALIVE_S).count());
        u32::try_from(idle).unwrap_or(u32::MAX) + self.busy.get(&memory_mib).copied().unwrap_or(0)
    }

    /// Starts one more, ready at `ready_s`.
    pub(super) fn put(&mut self, memory_mib: u32, ready_s: f64) {
        let idle = self.idle.entry(memory_mib).or_default();
        let at = idle.partition_point(|&since| since <= ready_s);
        idle.insert(at, ready_s);
    }
}
