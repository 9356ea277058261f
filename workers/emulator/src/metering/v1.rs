//! Metering by control groups version 1: one group per sandbox in each of the hierarchies cpu, cpuacct, memory, freezer and
//! (where mounted) pids. Descriptors of the files that an invocation touches stay open.

use super::group;
use super::leaves::{Leaves, SETTLE_EVERY};
use super::quota::{Quota, vcpus};
use super::{Cell, CellSpec, Meter, MeterError, Usage};
use crate::config::{MeteringConfig, MeteringMode};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Processes and threads that a Lambda environment may have.
const MAXIMUM_TASKS: &str = "1024";

/// Weight of all sandboxes together against the machine's other processes, which have 1024 each: without it a busy machine
/// would give all of them as much as one process, and quotas would not be reached.
const CPU_SHARES: u32 = 16 * 1024;

/// The hierarchies without which nothing can be metered.
const REQUIRED: [&str; 4] = ["cpu", "cpuacct", "memory", "freezer"];

/// Control groups version 1.
pub(super) struct MeterV1 {
    /// Controller → this emulator's group in its hierarchy. Controllers that are mounted together share a folder.
    roots: BTreeMap<&'static str, PathBuf>,
    cpu_scale: f64,
    period_us: u64,
}

impl MeterV1 {
    /// Makes this emulator's group in every hierarchy.
    pub(super) fn open(config: &MeteringConfig) -> Result<Self, MeterError> {
        let refused = |reason: String| MeterError::NotPermitted { mechanism: "cgroup_v1", reason };
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let name = group::instance_name();
        let mut roots = BTreeMap::new();
        for controller in REQUIRED.into_iter().chain(["pids"]) {
            let Some(mount) = mount_of(&mounts, controller) else {
                if REQUIRED.contains(&controller) {
                    return Err(refused(format!("no hierarchy of `{controller}` is mounted")));
                }
                continue;
            };
            // The top of the mount where allowed, else the group that this process is in (a delegated one).
            let delegated = mount.join(own_group(&own, controller).trim_start_matches('/'));
            let made = [mount, delegated].into_iter().find_map(|parent| {
                group::remove_stale(&parent);
                let root = parent.join(&name);
                (root.exists() || fs::create_dir(&root).is_ok()).then_some(root)
            });
            match made {
                Some(root) => drop(roots.insert(controller, root)),
                None if !REQUIRED.contains(&controller) => {}
                None => {
                    roots.values().for_each(|root| group::remove_tree(root));
                    return Err(refused(format!("no group can be made for `{controller}`")));
                }
            }
        }
        group::write(&roots["cpu"].join("cpu.shares"), &CPU_SHARES.to_string())?;
        Ok(Self { roots, cpu_scale: config.cpu_scale, period_us: config.quota_period_us })
    }

    /// One group below this emulator's in every hierarchy.
    fn create_groups(&self, name: &str) -> Result<BTreeMap<&'static str, PathBuf>, MeterError> {
        let mut dirs = BTreeMap::new();
        for (controller, root) in &self.roots {
            let dir = root.join(name);
            if !dir.exists() {
                group::create(&dir)?;
            }
            dirs.insert(*controller, dir);
        }
        Ok(dirs)
    }
}

impl Meter for MeterV1 {
    fn open(&self, spec: &CellSpec) -> Result<Box<dyn Cell>, MeterError> {
        let dirs = self.create_groups(&spec.name)?;
        let cores = vcpus(spec.memory_mib) * self.cpu_scale;
        write_cap(&dirs["cpu"], Quota::of_cores(cores, self.period_us))?;
        let memory = &dirs["memory"];
        let limit = (u64::from(spec.memory_mib) << 20).to_string();
        group::write(&memory.join("memory.limit_in_bytes"), &limit)?;
        let with_swap = memory.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            group::write(&with_swap, &limit)?;
        }
        if let Some(pids) = dirs.get("pids") {
            group::write(&pids.join("pids.max"), MAXIMUM_TASKS)?;
        }
        let cap = Quota::of_cores(self.cpu_scale, self.period_us);
        let leaves =
            (cores > self.cpu_scale).then(|| Leaves::new(&dirs["cpu"], &dirs["cpu"], cap, write_cap));
        Ok(Box::new(CellV1 {
            freezer: group::keep(dirs["freezer"].join("freezer.state"), true)?,
            memory_peak: group::keep(memory.join("memory.max_usage_in_bytes"), false)?,
            leaves,
            dirs,
        }))
    }

    fn mechanism(&self) -> MeteringMode {
        MeteringMode::CgroupV1
    }

    fn groups(&self) -> Vec<PathBuf> {
        // The freezer's first: it is the one through which processes are ended.
        let mut groups = vec![self.roots["freezer"].clone()];
        groups.extend(self.roots.values().filter(|root| **root != groups[0]).cloned().collect::<Vec<_>>());
        groups
    }

    fn close(&self) {
        for root in self.roots.values().filter(|root| root.exists()) {
            group::kill_tree(root);
            group::remove_tree(root);
        }
    }
}

/// The groups of one sandbox.
struct CellV1 {
    dirs: BTreeMap<&'static str, PathBuf>,
    freezer: File,
    memory_peak: File,
    leaves: Option<Leaves>,
}

impl Cell for CellV1 {
    fn entry(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.dirs.values().map(|dir| dir.join("cgroup.procs")).collect();
        files.dedup();
        files
    }

    fn started(&self, _pid: u32) {}

    fn freeze(&self) {
        group::write_kept(&self.freezer, "FROZEN");
    }

    fn thaw(&self) {
        group::write_kept(&self.freezer, "THAWED");
    }

    fn settle_every(&self) -> Option<Duration> {
        self.leaves.as_ref().map(|_| SETTLE_EVERY)
    }

    fn settle(&self) {
        if let Some(leaves) = &self.leaves {
            leaves.settle();
        }
    }

    fn usage(&self) -> Usage {
        let read = |controller: &str, file: &str| {
            fs::read_to_string(self.dirs[controller].join(file)).unwrap_or_default()
        };
        let stat = read("cpu", "cpu.stat");
        Usage {
            cpu_ns: read("cpuacct", "cpuacct.usage").trim().parse().unwrap_or(0),
            periods: group::field(&stat, "nr_periods"),
            throttled_periods: group::field(&stat, "nr_throttled"),
            throttled_ns: group::field(&stat, "throttled_time"),
            memory_peak_bytes: self.memory_peak_bytes(),
            memory_kills: group::field(&read("memory", "memory.oom_control"), "oom_kill"),
        }
    }

    fn memory_peak_bytes(&self) -> u64 {
        group::read_kept(&self.memory_peak).trim().parse().unwrap_or(0)
    }

    fn kill(&self) {
        group::kill_tree(&self.dirs["freezer"]);
    }

    fn close(&self) {
        for dir in self.dirs.values().filter(|dir| dir.exists()) {
            group::remove_tree(dir);
        }
    }
}

fn write_cap(dir: &Path, quota: Quota) -> Result<(), MeterError> {
    group::write(&dir.join("cpu.cfs_period_us"), &quota.period_us.to_string())?;
    group::write(&dir.join("cpu.cfs_quota_us"), &quota.quota_us.to_string())
}

/// The mount point of the version 1 hierarchy that has `controller`.
fn mount_of(mounts: &str, controller: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, path, "cgroup", options, ..] = fields.as_slice() else {
            return None;
        };
        options.split(',').any(|option| option == controller).then(|| PathBuf::from(path))
    })
}

/// The group of this process in the hierarchy of `controller`, from `/proc/self/cgroup`.
fn own_group<'a>(text: &'a str, controller: &str) -> &'a str {
    let group = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    group.unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
        cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
        cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    #[test]
    fn hierarchies_are_found_also_where_controllers_are_mounted_together() {
        assert_eq!(mount_of(MOUNTS, "cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(mount_of(MOUNTS, "cpu"), mount_of(MOUNTS, "cpuacct"));
        assert_eq!(mount_of(MOUNTS, "freezer"), None);
    }

    #[test]
    fn the_own_group_is_read_by_controller() {
        let text = "5:cpu,cpuacct:/user.slice\n4:memory:/\n0::/init\n";
        assert_eq!(
            (own_group(text, "cpuacct"), own_group(text, "memory"), own_group(text, "pids")),
            ("/user.slice", "/", "/")
        );
    }
}
