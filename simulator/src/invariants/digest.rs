//! A fingerprint of everything that happened in a run, in order: equal logs have equal fingerprints.
//!
//! FNV-1a over the debug text: 64 bits tell logs apart that differ by accident, which is all that is asked.

use std::fmt::{self, Write};

/// A fingerprint in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Digest {
    /// Adds an entry.
    pub(super) fn add(&mut self, entry: fmt::Arguments<'_>) {
        // Writing into a number cannot fail.
        let _ = self.write_fmt(entry);
        let _ = self.write_str("\n");
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        Ok(())
    }
}
