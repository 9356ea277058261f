//! Metering by control groups version 2 (the unified hierarchy): one group per sandbox with `cpu.max`, `memory.max`,
//! `pids.max`, `cgroup.freeze` and `cgroup.kill`. Version 2 lets processes live only in groups without controlled children,
//! so where processes need caps of their own the bootstrap starts in a folder `entry` below the sandbox's group.

use super::group;
use super::leaves::{Leaves, SETTLE_EVERY};
use super::quota::{Quota, vcpus};
use super::{Cell, CellSpec, Meter, MeterError, Usage};
use crate::config::{MeteringConfig, MeteringMode};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Processes and threads that a Lambda environment may have.
const MAXIMUM_TASKS: &str = "1024";

/// Weight of all sandboxes together against the machine's other groups, which have 100 each: without it a busy machine would
/// give all of them as much as one neighbour, and quotas would not be reached.
const CPU_WEIGHT: u32 = 16 * 100;

/// Control groups version 2.
pub(super) struct MeterV2 {
    root: PathBuf,
    cpu_scale: f64,
    period_us: u64,
}

impl MeterV2 {
    /// Makes this emulator's group below the group that this process is in.
    pub(super) fn open(config: &MeteringConfig) -> Result<Self, MeterError> {
        let refused = |reason: String| MeterError::NotPermitted { mechanism: "cgroup_v2", reason };
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mount =
            mount_point(&mounts).ok_or_else(|| refused("the unified hierarchy is not mounted".to_owned()))?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let parent = mount.join(path.trim_start_matches('/'));
        let offered = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        if !["cpu", "memory"]
            .iter()
            .all(|wanted| offered.split_ascii_whitespace().any(|name| name == *wanted))
        {
            return Err(refused(format!("`{}` offers only `{}`", parent.display(), offered.trim())));
        }
        group::remove_stale(&parent);
        delegate(&parent).map_err(|error| refused(error.to_string()))?;
        Self::below(&parent, config)
    }

    /// Makes this emulator's group below `parent`, whose controllers are enabled for its children.
    fn below(parent: &Path, config: &MeteringConfig) -> Result<Self, MeterError> {
        let root = parent.join(group::instance_name());
        group::create(&root)?;
        group::write(&root.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
        group::write(&root.join("cpu.weight"), &CPU_WEIGHT.to_string())?;
        Ok(Self { root, cpu_scale: config.cpu_scale, period_us: config.quota_period_us })
    }
}

/// Enables the controllers for children of `parent`. The kernel refuses while `parent` itself holds processes; if this
/// process is the only one, it moves into a child first.
fn delegate(parent: &Path) -> Result<(), MeterError> {
    let control = parent.join("cgroup.subtree_control");
    if group::write(&control, "+cpu +memory +pids").is_ok() {
        return Ok(());
    }
    let own = parent.join("penstock-host");
    if !own.exists() {
        group::create(&own)?;
    }
    group::write(&own.join("cgroup.procs"), &std::process::id().to_string())?;
    group::write(&control, "+cpu +memory +pids").inspect_err(|_| {
        let _ = group::write(&parent.join("cgroup.procs"), &std::process::id().to_string());
    })
}

impl Meter for MeterV2 {
    fn open(&self, spec: &CellSpec) -> Result<Box<dyn Cell>, MeterError> {
        let dir = self.root.join(&spec.name);
        group::create(&dir)?;
        let cores = vcpus(spec.memory_mib) * self.cpu_scale;
        write_cap(&dir, Quota::of_cores(cores, self.period_us))?;
        group::write(&dir.join("memory.max"), &(u64::from(spec.memory_mib) << 20).to_string())?;
        let swap = dir.join("memory.swap.max");
        if swap.exists() {
            group::write(&swap, "0")?;
        }
        group::write(&dir.join("pids.max"), MAXIMUM_TASKS)?;
        let (mut entry, mut leaves) = (dir.clone(), None);
        if cores > self.cpu_scale {
            group::write(&dir.join("cgroup.subtree_control"), "+cpu")?;
            entry = dir.join("entry");
            group::create(&entry)?;
            let cap = Quota::of_cores(self.cpu_scale, self.period_us);
            write_cap(&entry, cap)?;
            leaves = Some(Leaves::new(&dir, &entry, cap, write_cap));
        }
        let memory_peak = ["memory.peak", "memory.current"]
            .map(|file| dir.join(file))
            .into_iter()
            .find(|path| path.exists());
        Ok(Box::new(CellV2 {
            freezer: group::keep(dir.join("cgroup.freeze"), true)?,
            memory_peak: memory_peak.map(|path| group::keep(path, false)).transpose()?,
            leaves,
            entry,
            dir,
        }))
    }

    fn mechanism(&self) -> MeteringMode {
        MeteringMode::CgroupV2
    }

    fn groups(&self) -> Vec<PathBuf> {
        vec![self.root.clone()]
    }

    fn close(&self) {
        group::kill_tree(&self.root);
        group::remove_tree(&self.root);
    }
}

/// The group of one sandbox.
struct CellV2 {
    dir: PathBuf,
    entry: PathBuf,
    freezer: File,
    memory_peak: Option<File>,
    leaves: Option<Leaves>,
}

impl Cell for CellV2 {
    fn entry(&self) -> Vec<PathBuf> {
        vec![self.entry.join("cgroup.procs")]
    }

    fn started(&self, _pid: u32) {}

    fn freeze(&self) {
        group::write_kept(&self.freezer, "1");
    }

    fn thaw(&self) {
        group::write_kept(&self.freezer, "0");
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
        let read = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let stat = read("cpu.stat");
        Usage {
            cpu_ns: group::field(&stat, "usage_usec") * 1000,
            periods: group::field(&stat, "nr_periods"),
            throttled_periods: group::field(&stat, "nr_throttled"),
            throttled_ns: group::field(&stat, "throttled_usec") * 1000,
            memory_peak_bytes: self.memory_peak_bytes(),
            memory_kills: group::field(&read("memory.events"), "oom_kill"),
        }
    }

    fn memory_peak_bytes(&self) -> u64 {
        let text = self.memory_peak.as_ref().map(group::read_kept).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    fn kill(&self) {
        group::kill_tree(&self.dir);
    }

    fn close(&self) {
        group::remove_tree(&self.dir);
    }
}

fn write_cap(dir: &Path, quota: Quota) -> Result<(), MeterError> {
    group::write(&dir.join("cpu.max"), &format!("{} {}", quota.quota_us, quota.period_us))
}

/// The mount point of the unified hierarchy.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, path, "cgroup2", ..] = fields.as_slice() else {
            return None;
        };
        Some(PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that stands in for the kernel's: every group has the files that the kernel would make.
    fn cell(memory_mib: u32) -> (tempfile::TempDir, PathBuf, Result<Box<dyn Cell>, MeterError>) {
        let parent = tempfile::tempdir().unwrap();
        let config = MeteringConfig::default();
        let meter = MeterV2::below(parent.path(), &config).unwrap();
        let dir = meter.root.join("s1");
        // `create` makes the folder, and the kernel its files; here a first, failing call makes the folder.
        let spec = CellSpec { name: "s1".into(), memory_mib, marker: String::new() };
        assert!(meter.open(&spec).is_err(), "without the kernel's files the descriptors cannot be kept");
        let text = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
        assert_eq!(text("memory.max"), (u64::from(memory_mib) << 20).to_string());
        assert_eq!(text("pids.max"), "1024");
        let made = dir.clone();
        fs::write(dir.join("cgroup.freeze"), "0").unwrap();
        let cell = CellV2 {
            freezer: group::keep(dir.join("cgroup.freeze"), true).unwrap(),
            memory_peak: None,
            leaves: None,
            entry: dir.clone(),
            dir,
        };
        (parent, made, Ok(Box::new(cell)))
    }

    #[test]
    fn a_sandbox_gets_its_share_its_limit_and_a_freezer() {
        let (_parent, dir, cell) = cell(1769);
        let cell = cell.unwrap();
        assert_eq!(fs::read_to_string(dir.join("cpu.max")).unwrap(), "5000 20000");
        cell.freeze();
        assert_eq!(fs::read_to_string(dir.join("cgroup.freeze")).unwrap(), "1");
        cell.thaw();
        assert_eq!(fs::read_to_string(dir.join("cgroup.freeze")).unwrap(), "0");
        fs::write(dir.join("cpu.stat"), "usage_usec 7\nnr_periods 5\nnr_throttled 2\nthrottled_usec 9\n")
            .unwrap();
        fs::write(dir.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
        let usage = cell.usage();
        assert_eq!(
            (usage.cpu_ns, usage.periods, usage.throttled_periods, usage.throttled_ns),
            (7000, 5, 2, 9000)
        );
        assert_eq!(usage.memory_kills, 1);
        assert_eq!(cell.entry(), [dir.join("cgroup.procs")]);
    }

    #[test]
    fn above_one_vcpu_each_process_starts_below_a_cap_of_its_own() {
        let (_parent, dir, _cell) = cell(3538);
        assert_eq!(fs::read_to_string(dir.join("cpu.max")).unwrap(), "10000 20000");
        assert_eq!(fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap(), "+cpu");
        assert_eq!(fs::read_to_string(dir.join("entry/cpu.max")).unwrap(), "5000 20000");
    }

    #[test]
    fn leaves_follow_the_processes() {
        let dir = tempfile::tempdir().unwrap();
        let entry = dir.path().join("entry");
        fs::create_dir(&entry).unwrap();
        fs::write(entry.join("cgroup.procs"), "41\n42\n").unwrap();
        let leaves = Leaves::new(dir.path(), &entry, Quota::of_cores(0.25, 20_000), write_cap);
        leaves.settle();
        for pid in [41, 42] {
            let leaf = dir.path().join(format!("process-{pid}"));
            assert_eq!(fs::read_to_string(leaf.join("cpu.max")).unwrap(), "5000 20000");
            assert_eq!(fs::read_to_string(leaf.join("cgroup.procs")).unwrap(), pid.to_string());
        }
        // A child of 42 starts in its leaf and is moved on.
        fs::write(dir.path().join("process-42/cgroup.procs"), "42\n43\n").unwrap();
        leaves.settle();
        assert!(dir.path().join("process-43/cpu.max").exists());
    }
}
