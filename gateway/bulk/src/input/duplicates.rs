//! Finds an id that appears twice among any number of ids, in little memory.
//!
//! *Problem.* Ten million ids do not fit a set in flat memory.
//! *Rule.* Each id becomes a 128-bit hash with its line; the hash's first byte picks one of 256 buckets; a full bucket's buffer is appended to
//! its part of a spill file. At the end each bucket is sorted on its own: equal hashes are one id. 24 bytes of disk an id, and memory for
//! one bucket: 1/256 of that.
//! *Why not a database table with a unique key?* Ten times slower, and the ids must be gone when the check is.
//! *Bounds.* Two different ids collide with a chance of n²/2¹²⁹ (10⁻²⁵ for ten million): keys are random, so nobody can make them.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::BulkError;

/// Buckets.
const BUCKETS: usize = 256;
/// Entries that a bucket holds in memory: 256 × 1,024 × 24 bytes are 6 MiB.
const BUFFERED: usize = 1024;
/// Bytes of an entry: 16 of hash, 8 of line.
const ENTRY_BYTES: usize = 24;

/// Two lines with one id, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duplicate {
    /// The line that repeats it.
    pub(crate) second: u64,
    /// The line that has it first.
    pub(crate) first: u64,
}

/// Collects ids.
pub(crate) struct DuplicateFinder {
    keys: [RandomState; 2],
    buckets: Vec<Bucket>,
    /// One file for all buckets; unlinked from the start, so nothing is left behind by a kill.
    spill: File,
    spilled_bytes: u64,
}

#[derive(Default)]
struct Bucket {
    buffered: Vec<(u128, u64)>,
    /// Where its full buffers went.
    spilled: Vec<u64>,
}

impl DuplicateFinder {
    /// A finder that spills into `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self, BulkError> {
        let path = directory.join(format!(".ids-{}-{:?}", std::process::id(), std::thread::current().id()));
        let what = || format!("make `{}`", path.display());
        let spill = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(BulkError::io(what()))?;
        std::fs::remove_file(&path).map_err(BulkError::io(what()))?;
        let buckets = (0..BUCKETS).map(|_| Bucket::default()).collect();
        Ok(Self { keys: [RandomState::new(), RandomState::new()], buckets, spill, spilled_bytes: 0 })
    }

    /// Takes the id of a line (numbered from 1).
    pub(crate) fn add(&mut self, id: &str, line: u64) -> Result<(), BulkError> {
        let [high, low] = [&self.keys[0], &self.keys[1]].map(|key| key.hash_one(id));
        let bucket = &mut self.buckets[usize::from(high.to_be_bytes()[0])];
        bucket.buffered.push((u128::from(high) << 64 | u128::from(low), line));
        if bucket.buffered.len() < BUFFERED {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(BUFFERED * ENTRY_BYTES);
        for (hash, line) in bucket.buffered.drain(..) {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&line.to_le_bytes());
        }
        bucket.spilled.push(self.spilled_bytes);
        self.spilled_bytes += bytes.len() as u64;
        self.spill.write_all(&bytes).map_err(BulkError::io("write the ids' spill file"))
    }

    /// The first line that repeats an id, if any.
    pub(crate) fn finish(mut self) -> Result<Option<Duplicate>, BulkError> {
        let mut found: Option<Duplicate> = None;
        let mut bytes = vec![0; BUFFERED * ENTRY_BYTES];
        for bucket in std::mem::take(&mut self.buckets) {
            let mut entries = bucket.buffered;
            for offset in bucket.spilled {
                self.spill
                    .seek(SeekFrom::Start(offset))
                    .and_then(|_| self.spill.read_exact(&mut bytes))
                    .map_err(BulkError::io("read the ids' spill file"))?;
                entries.extend(bytes.chunks_exact(ENTRY_BYTES).map(|entry| {
                    let (hash, line) = entry.split_at(16);
                    let number = |bytes: &[u8]| {
                        bytes.iter().rev().fold(0_u128, |number, &byte| number << 8 | u128::from(byte))
                    };
                    (number(hash), u64::try_from(number(line)).unwrap_or(u64::MAX))
                }));
            }
            entries.sort_unstable();
            for pair in entries.windows(2) {
                let &[(hash, first), (next, second)] = pair else { continue };
                if hash == next {
                    let duplicate = Duplicate { second, first };
                    found = Some(found.map_or(duplicate, |found| found.min(duplicate)));
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(ids: impl Iterator<Item = String>) -> Option<Duplicate> {
        let folder = tempfile::tempdir().unwrap();
        let mut finder = DuplicateFinder::new(folder.path()).unwrap();
        for (index, id) in ids.enumerate() {
            finder.add(&id, index as u64 + 1).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        finder.finish().unwrap()
    }

    #[test]
    fn the_first_repeated_id_is_named_with_both_lines() {
        let ids = ["a", "b", "c", "b", "a", "b"].map(str::to_owned);
        assert_eq!(find(ids.into_iter()), Some(Duplicate { second: 4, first: 2 }));
        assert_eq!(find(["a", "b", "ab", ""].map(str::to_owned).into_iter()), None);
    }

    #[test]
    fn ids_that_were_spilled_to_disk_are_compared_too() {
        let count = 600_000; // twice what is buffered
        assert_eq!(find((0..count).map(|id| id.to_string())), None);
        let with_repeat = (0..count).map(|id| if id == 599_999 { "7".to_owned() } else { id.to_string() });
        assert_eq!(find(with_repeat), Some(Duplicate { second: 600_000, first: 8 }));
    }
}
