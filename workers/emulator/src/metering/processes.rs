//! Reading `/proc` and sending signals. Knows nothing of sandboxes but the environment entry that marks their processes.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;

/// Bytes of a memory page on the supported platforms.
const PAGE_BYTES: u64 = 4096;

/// Sends `signal` to the process `pid`; a process that is gone is no error.
pub fn signal(pid: u32, signal: Signal) {
    // 0 and 1 would mean "my own group" and "init".
    if let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Sends `signal` to the process group `pid`.
pub fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) {
        let _ = nix::sys::signal::killpg(Pid::from_raw(pid), signal);
    }
}

/// Start time of `pid` in clock ticks since boot; with the id it names a process for good.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// All processes whose environment has the entry `marker`.
#[must_use]
pub fn with_marker(marker: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| has_marker(*pid, marker)).collect()
}

fn has_marker(pid: u32, marker: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes())
}

/// `pid` and all its living descendants.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for task in tasks(parent) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// CPU time of all threads of `pid`, ns.
#[must_use]
pub fn cpu_ns(pid: u32) -> u64 {
    let of_task = |task: PathBuf| -> u64 {
        let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        text.split_ascii_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    tasks(pid).map(of_task).sum()
}

/// Resident memory of `pid`, bytes; shared pages count fully.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = text.split_ascii_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0);
    pages * PAGE_BYTES
}

/// Proportional memory of `pid`, bytes: pages shared by n processes count 1/n each.
#[must_use]
pub fn proportional_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: Option<u64> = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0) * 1024
}

fn tasks(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn children_are_found_by_descent_and_by_their_environment() {
        let marker = format!("PENSTOCK_TEST_MARKER={}", std::process::id());
        let (name, value) = marker.split_once('=').unwrap();
        let mut child = Command::new("sleep").arg("5").env(name, value).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !with_marker(&marker).contains(&child.id()) && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(with_marker(&marker), [child.id()]);
        assert!(descendants(std::process::id()).contains(&child.id()));
        signal(child.id(), Signal::SIGKILL);
        child.wait().unwrap();
        assert_eq!(with_marker(&marker), [0_u32; 0]);
    }

    #[test]
    fn this_process_has_used_cpu_and_memory() {
        let pid = std::process::id();
        assert!(cpu_ns(pid) > 0 && resident_bytes(pid) > 0 && start_ticks(pid).is_some());
    }
}
