//! How long a batch takes from dispatch to outcome, as seen lately.
//!
//! An exponential mean with weight 1/8, the weight that TCP uses for its round-trip time (RFC 6298). Used for estimates that may be
//! wrong (when to try again), and for refusals only where they err on the side of admitting.

/// A mean in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Turnaround {
    mean: Option<u64>,
}

impl Turnaround {
    #[inline]
    pub(crate) fn observe(&mut self, nanos: u64) {
        self.mean = Some(self.mean.map_or(nanos, |mean| mean - mean / 8 + nanos / 8));
    }

    /// In nanoseconds; `None` until a batch has returned.
    pub(crate) fn mean(&self) -> Option<u64> {
        self.mean
    }
}
