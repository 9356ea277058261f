//! How much of the machine others took meanwhile, so that a disturbed round can be told from a quiet one.

use std::fs;

/// Others' share of all CPUs above which a round is left out.
const DISTURBED: f64 = 0.10;

/// CPU time so far, in clock ticks.
pub(crate) struct Snapshot {
    busy: u64,
    all: u64,
    own: u64,
}

impl Snapshot {
    /// Now; `pids` are ours, besides this process.
    pub(crate) fn take(pids: &[u32]) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap())
            .collect();
        let all = ticks.iter().take(8).sum();
        let own = std::iter::once(std::process::id()).chain(pids.iter().copied()).map(process_ticks).sum();
        Self { busy: all - ticks[3] - ticks[4], all, own }
    }

    /// Whether others left the machine alone between two snapshots.
    pub(crate) fn was_quiet_until(&self, later: &Self) -> bool {
        let others = (later.busy - self.busy).saturating_sub(later.own.saturating_sub(self.own));
        (others as f64) < DISTURBED * (later.all - self.all).max(1) as f64
    }
}

/// User and system time of a process with all its threads, in clock ticks.
pub(crate) fn process_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// CPU time of a process in microseconds, exact where `process_ticks` is coarse.
pub(crate) fn process_cpu_us(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    stat.split_whitespace().next().map_or(0, |nanoseconds| nanoseconds.parse::<u64>().unwrap() / 1000)
}
