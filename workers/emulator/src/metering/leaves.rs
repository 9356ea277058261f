//! Each process of a sandbox in its own leaf group with its own CPU cap: on Lambda one thread-bound process cannot use more
//! than one vCPU, whatever the memory size grants in all. Needed only where the sandbox is granted more than one vCPU.
//! New processes start in the leaf of their parent and share its cap until the next look, at most [`SETTLE_EVERY`] later.

use super::group;
use super::quota::Quota;
use crate::sync::lock;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Time between two looks for new processes.
pub(super) const SETTLE_EVERY: Duration = Duration::from_millis(20);

/// How a leaf's cap is written.
pub(super) type WriteCap = fn(&Path, Quota) -> Result<(), super::MeterError>;

/// The leaves of one sandbox.
pub(super) struct Leaves {
    dir: PathBuf,
    cap: Quota,
    write_cap: WriteCap,
    /// The group where processes start, and each leaf with the process that owns it.
    state: Mutex<State>,
}

struct State {
    entry: File,
    leaves: BTreeMap<u32, File>,
}

impl Leaves {
    /// Leaves below `dir`, for processes that start in `entry` (which is `dir` itself or a folder in it).
    pub(super) fn new(
        dir: &Path,
        entry: &Path,
        cap: Quota,
        write_cap: WriteCap,
    ) -> Result<Self, super::MeterError> {
        let entry = group::keep(entry.join("cgroup.procs"), false)?;
        let state = Mutex::new(State {
            entry,
            leaves: BTreeMap::new(),
        });
        Ok(Self {
            dir: dir.to_owned(),
            cap,
            write_cap,
            state,
        })
    }

    /// Moves every process that has no leaf of its own into one, and removes the leaves of processes that are gone.
    pub(super) fn settle(&self) {
        let mut state = lock(&self.state);
        let mut strangers = group::parse_pids(&group::read_kept(&state.entry));
        let mut gone = Vec::new();
        for (owner, file) in &state.leaves {
            let pids = group::parse_pids(&group::read_kept(file));
            if !pids.contains(owner) {
                gone.push(*owner);
            }
            strangers.extend(pids.into_iter().filter(|pid| pid != owner));
        }
        for pid in strangers {
            match self.open_leaf(pid) {
                Ok(file) => drop(state.leaves.insert(pid, file)),
                Err(error) => {
                    tracing::debug!(pid, %error, "a process ended before it could be given its own cap")
                }
            }
        }
        for owner in gone {
            if std::fs::remove_dir(self.leaf(owner)).is_ok() {
                state.leaves.remove(&owner);
            }
        }
    }

    fn open_leaf(&self, pid: u32) -> Result<File, super::MeterError> {
        let leaf = self.leaf(pid);
        if !leaf.exists() {
            group::create(&leaf)?;
            (self.write_cap)(&leaf, self.cap)?;
        }
        let procs = leaf.join("cgroup.procs");
        group::write(&procs, &pid.to_string())?;
        group::keep(procs, false)
    }

    fn leaf(&self, pid: u32) -> PathBuf {
        self.dir.join(format!("process-{pid}"))
    }
}
