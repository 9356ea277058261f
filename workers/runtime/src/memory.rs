//! Memory of processes, from `/proc`.
//!
//! Two figures, for two uses. `statm` is cheap (about 10 µs) and is watched while a process works; its anonymous part counts
//! pages that a process made for itself and those that it still shares with the zygote alike, so what it *grew* is its anonymous
//! memory less the zygote's. `smaps_rollup` counts shared pages once over all processes, but walks every page (about a
//! millisecond for 200 MiB), so it is sampled rarely. Deliberately absent: limits; `RLIMIT_AS` would count mapped weights.

use std::fs;

const PAGE_BYTES: u64 = 4096; // on both of Lambda's architectures

/// Resident memory of a process, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resident {
    /// All of it.
    pub(crate) all_bytes: u64,
    /// Of it, what no file backs.
    pub(crate) anonymous_bytes: u64,
}

impl Resident {
    /// Of process `pid` (a number or `self`); `None` if it is gone.
    pub(crate) fn of(pid: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mut pages = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
        let (all, file_backed) = (pages.next()??, pages.next()??);
        Some(Self {
            all_bytes: all * PAGE_BYTES,
            anonymous_bytes: all.saturating_sub(file_backed) * PAGE_BYTES,
        })
    }
}

/// Proportional set size of process `pid` in bytes, shared pages counted by their share; `None` if it is gone.
pub(crate) fn proportional_bytes(pid: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_seen_and_grows() {
        let before = Resident::of("self").unwrap();
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = Resident::of("self").unwrap();
        assert!(after.anonymous_bytes >= before.anonymous_bytes + (60 << 20));
        assert!(after.all_bytes >= after.anonymous_bytes);
        assert!(proportional_bytes("self").unwrap() > 60 << 20);
        drop(held);
        assert_eq!(Resident::of("0"), None);
    }
}
