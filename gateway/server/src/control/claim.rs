//! The right to learn into a state directory: one process at a time.
//!
//! A lock of the kernel on a file of the folder, so it ends with its process however that ends. A gateway without it serves what the folder says, learns
//! nothing and writes nothing, and takes the right as soon as it is free: that is how an upgrade hands learned state over, and what keeps a second
//! gateway that was pointed at the same folder by mistake from spoiling it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a gateway without the right looks whether it is free.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The right, or the wish for it.
#[derive(Debug)]
pub(super) struct Claim {
    /// `None`: nothing is kept, so there is nothing to share.
    path: Option<PathBuf>,
    lock: Option<File>,
    is_told: bool,
}

impl Claim {
    /// Of a folder that is there, or of none.
    pub(super) fn new(directory: Option<&Path>) -> Self {
        let mut claim =
            Self { path: directory.map(|folder| folder.join("lock")), lock: None, is_told: false };
        claim.look();
        claim
    }

    pub(super) const fn is_held(&self) -> bool {
        self.path.is_none() || self.lock.is_some()
    }

    /// Takes the right if it is free; gives whether it is held now.
    pub(super) fn look(&mut self) -> bool {
        let Some(path) = self.path.as_deref().filter(|_| self.lock.is_none()) else { return true };
        let file = match File::options().create(true).truncate(false).write(true).open(path) {
            Ok(file) => file,
            Err(error) => return self.go_on_without(&error),
        };
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    tracing::info!(lock = %path.display(), "another gateway learns into this folder; this one follows until it has gone");
                }
            }
            Err(TryLockError::Error(error)) => return self.go_on_without(&error),
        }
        self.is_held()
    }

    /// A file system without locks, or a folder that cannot be written: then writing tells.
    fn go_on_without(&mut self, error: &std::io::Error) -> bool {
        tracing::error!(%error, "the folder of learned state cannot be locked; see to it that one gateway alone uses it");
        self.path = None;
        true
    }

    /// Gives the right back: another gateway may take it at once.
    pub(super) fn release(&mut self) {
        self.lock = None;
    }
}
