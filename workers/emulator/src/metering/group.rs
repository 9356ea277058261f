//! Folders of the control-group file systems: create, write, read through kept descriptors, end the processes, remove; and
//! the clean-up of groups that a killed emulator left behind. Knows no controller.

use super::MeterError;
use super::processes;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Prefix of every group that an emulator makes.
const PREFIX: &str = "penstock-emulator-";

/// Longest file that is read through a kept descriptor.
const READ_BYTES: usize = 4096;

/// A name that is unique among all emulators on the machine and tells whether its owner still lives.
pub(super) fn instance_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    let started = processes::start_ticks(pid).unwrap_or(0);
    format!("{PREFIX}{pid}-{started}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `name` is the group of an emulator that is no longer there.
fn is_stale(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let mut parts = rest.split('-').map(|part| part.parse::<u64>().ok());
    let (Some(Some(pid)), Some(Some(started))) = (parts.next(), parts.next()) else {
        return false;
    };
    let Ok(pid) = u32::try_from(pid) else { return false };
    processes::start_ticks(pid) != Some(started)
}

/// Ends and removes the groups that dead emulators left under `parent`.
pub(super) fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if is_stale(&entry.file_name().to_string_lossy()) {
            tracing::info!(group = %entry.path().display(), "removing the group of an emulator that is gone");
            kill_tree(&entry.path());
            remove_tree(&entry.path());
        }
    }
}

/// Creates `path` (its parent exists).
pub(super) fn create(path: &Path) -> Result<(), MeterError> {
    fs::create_dir(path).map_err(|source| MeterError::File { path: path.to_owned(), source })
}

/// Writes a control file.
pub(super) fn write(path: &Path, value: &str) -> Result<(), MeterError> {
    fs::write(path, value).map_err(|source| MeterError::File { path: path.to_owned(), source })
}

/// Opens a control file to be kept.
pub(super) fn keep(path: PathBuf, writable: bool) -> Result<File, MeterError> {
    let opened = OpenOptions::new().read(true).write(writable).open(&path);
    opened.map_err(|source| MeterError::File { path, source })
}

/// Reads a kept control file from its beginning.
pub(super) fn read_kept(file: &File) -> String {
    let mut buffer = [0_u8; READ_BYTES];
    let length = file.read_at(&mut buffer, 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Writes a kept control file from its beginning; failure means that the group is gone.
pub(super) fn write_kept(file: &File, value: &str) -> bool {
    file.write_at(value.as_bytes(), 0).is_ok()
}

/// The number after `key` in a file of `key value` lines.
pub(super) fn field(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key).filter(|rest| rest.starts_with(' ')));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

/// Process ids in `dir` itself.
pub(super) fn processes_in(dir: &Path) -> Vec<u32> {
    parse_pids(&fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default())
}

/// The process ids of a `cgroup.procs` text.
pub(super) fn parse_pids(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Folders below `dir`, deepest first, `dir` last.
pub(super) fn tree(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<PathBuf> = folders.flat_map(|entry| tree(&entry.path())).collect();
    found.push(dir.to_owned());
    found
}

/// Ends every process at and below `dir`, thawing what is frozen.
pub(super) fn kill_tree(dir: &Path) {
    for group in tree(dir) {
        // Version 2 has a file that ends even a forking group; the write fails harmlessly elsewhere.
        let _ = fs::OpenOptions::new()
            .write(true)
            .open(group.join("cgroup.kill"))
            .map(|file| file.write_at(b"1", 0));
        for pid in processes_in(&group) {
            processes::signal(pid, nix::sys::signal::Signal::SIGKILL);
        }
        for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let path = group.join(file);
            if path.exists() {
                let _ = fs::write(path, value);
            }
        }
    }
}

/// Removes `dir` and what is below it, waiting up to a second for its processes to be gone.
pub(super) fn remove_tree(dir: &Path) {
    for _ in 0..100 {
        let groups = tree(dir);
        if groups.iter().all(|group| fs::remove_dir(group).is_ok()) || !dir.exists() {
            return;
        }
        kill_tree(dir);
        std::thread::sleep(Duration::from_millis(10));
    }
    tracing::warn!(group = %dir.display(), "a control group could not be removed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_dead_emulators_are_stale() {
        assert!(!is_stale(&instance_name()));
        assert!(is_stale(&format!("{PREFIX}{}-1-0", std::process::id())), "the process id was used again");
        assert!(is_stale(&format!("{PREFIX}4194304-99-0")));
        assert!(!is_stale("other-1-2-3") && !is_stale(&format!("{PREFIX}notes")));
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "nr_periods 10\nnr_throttled 4\nthrottled_usec 77\n";
        assert_eq!((field(text, "nr_throttled"), field(text, "throttled"), field(text, "absent")), (4, 0, 0));
    }

    #[test]
    fn a_tree_is_listed_deepest_first() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let found = tree(dir.path());
        assert_eq!(found, [dir.path().join("a/b"), dir.path().join("a"), dir.path().to_owned()]);
        remove_tree(dir.path());
        assert!(!dir.path().exists());
    }
}
