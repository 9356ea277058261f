//! What a sandbox writes to its standard output and error: the last kilobytes are kept for `LogType=Tail`, and all of it is
//! forwarded where that is wanted. Nothing is stored.

use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::net::unix::pipe::Receiver;

/// Bytes that an answer may carry.
const TAIL_BYTES: usize = 4096;

/// Bytes that are kept: the tail, and room for its END and REPORT lines.
const KEPT_BYTES: usize = 2 * TAIL_BYTES;

/// The log of one sandbox.
pub(crate) struct LogBuffer {
    function: String,
    forward: bool,
    pipe: Receiver,
    kept: Mutex<VecDeque<u8>>,
}

impl LogBuffer {
    /// A log that reads from `pipe`.
    pub(crate) fn new(function: &str, forward: bool, pipe: Receiver) -> Self {
        Self { function: function.to_owned(), forward, pipe, kept: Mutex::new(VecDeque::new()) }
    }

    /// Reads until every writer is gone.
    pub(crate) async fn pump(&self) {
        while self.pipe.readable().await.is_ok() {
            if self.drain() {
                return;
            }
        }
    }

    /// Takes over what is in the pipe now; true when all writers are gone.
    fn drain(&self) -> bool {
        let mut buffer = [0_u8; 4096];
        loop {
            // Reading under the lock keeps the order of two readers.
            let mut kept = lock(&self.kept);
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => return true,
                Ok(length) => {
                    push(&mut kept, &buffer[..length]);
                    if self.forward {
                        let text = String::from_utf8_lossy(&buffer[..length]);
                        tracing::info!(function = %self.function, "{}", text.trim_end());
                    }
                }
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Adds a line of the platform itself.
    pub(crate) fn platform(&self, line: &str) {
        push(&mut lock(&self.kept), line.as_bytes());
        if self.forward {
            tracing::info!(function = %self.function, "{}", line.trim_end());
        }
    }

    /// Whether platform lines are of use even without a tail.
    pub(crate) fn forwards(&self) -> bool {
        self.forward
    }

    /// Forgets what was kept.
    pub(crate) fn clear(&self) {
        lock(&self.kept).clear();
    }

    /// Takes over what is in the pipe, adds `end` and returns the last 4 KB.
    pub(crate) fn tail(&self, end: &str) -> Vec<u8> {
        self.drain();
        let mut kept = lock(&self.kept);
        if kept.back().is_some_and(|byte| *byte != b'\n') {
            kept.push_back(b'\n');
        }
        push(&mut kept, end.as_bytes());
        let skipped = kept.len().saturating_sub(TAIL_BYTES);
        kept.iter().skip(skipped).copied().collect()
    }
}

fn push(kept: &mut VecDeque<u8>, bytes: &[u8]) {
    kept.extend(&bytes[bytes.len().saturating_sub(KEPT_BYTES)..]);
    let excess = kept.len().saturating_sub(KEPT_BYTES);
    kept.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_bytes_are_kept() {
        let mut kept = VecDeque::new();
        push(&mut kept, &[1; 3 * KEPT_BYTES]);
        push(&mut kept, b"end");
        assert_eq!(kept.len(), KEPT_BYTES);
        assert_eq!(kept.iter().rev().take(3).copied().collect::<Vec<_>>(), b"dne");
    }
}
