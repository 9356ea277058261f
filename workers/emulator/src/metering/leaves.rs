//! Each process of a sandbox in its own leaf group with its own CPU cap: on Lambda one thread-bound process cannot use more
//! than one vCPU, whatever the memory size grants in all. Needed only where the sandbox is granted more than one vCPU.
//! New processes start in the leaf of their parent and share its cap until the next look, at most [`SETTLE_EVERY`] later.

use super::quota::Quota;
use super::{MeterError, group};
use crate::sync::lock;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Time between two looks for new processes.
pub(super) const SETTLE_EVERY: Duration = Duration::from_millis(20);

/// How a leaf's cap is written.
pub(super) type WriteCap = fn(&Path, Quota) -> Result<(), MeterError>;

/// The leaves of one sandbox.
pub(super) struct Leaves {
    dir: PathBuf,
    entry: PathBuf,
    cap: Quota,
    write_cap: WriteCap,
    /// The processes that own a leaf.
    owners: Mutex<BTreeSet<u32>>,
}

impl Leaves {
    /// Leaves below `dir`, for processes that start in `entry` (which is `dir` itself or a folder in it).
    pub(super) fn new(dir: &Path, entry: &Path, cap: Quota, write_cap: WriteCap) -> Self {
        Self { dir: dir.to_owned(), entry: entry.to_owned(), cap, write_cap, owners: Mutex::default() }
    }

    /// Moves every process that has no leaf of its own into one, and removes the leaves of processes that are gone.
    ///
    /// The lists are opened anew each time: version 1 answers repeated reads of one descriptor from a cached list.
    pub(super) fn settle(&self) {
        let mut owners = lock(&self.owners);
        let mut strangers = group::processes_in(&self.entry);
        let mut gone = Vec::new();
        for owner in owners.iter().copied() {
            let pids = group::processes_in(&self.leaf(owner));
            if !pids.contains(&owner) {
                gone.push(owner);
            }
            strangers.extend(pids.into_iter().filter(|pid| *pid != owner));
        }
        for pid in strangers {
            match self.move_to_leaf(pid) {
                Ok(()) => drop(owners.insert(pid)),
                Err(error) => {
                    tracing::debug!(pid, %error, "a process ended before it could be given its own cap")
                }
            }
        }
        for owner in gone {
            if std::fs::remove_dir(self.leaf(owner)).is_ok() {
                owners.remove(&owner);
            }
        }
    }

    fn move_to_leaf(&self, pid: u32) -> Result<(), MeterError> {
        let leaf = self.leaf(pid);
        if !leaf.exists() {
            group::create(&leaf)?;
            (self.write_cap)(&leaf, self.cap)?;
        }
        group::write(&leaf.join("cgroup.procs"), &pid.to_string())
    }

    fn leaf(&self, pid: u32) -> PathBuf {
        self.dir.join(format!("process-{pid}"))
    }
}
