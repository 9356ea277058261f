//! How far the shell's estimates of payload sizes are off.
//!
//! Problem: the encoded size of an answer (and, less so, of a request) is an estimate. A batch that turns out too large was paid for and
//! its answer is lost, so the same mistake must not be made with each batch.
//! Rule: a factor on the estimate, at least 1. A batch that was too large proves that the factor is at least bound / estimate; it is set
//! [`HEADROOM`] above that, unless it is higher already: batches that were out together prove the same thing only once. Each success takes back 1/[`DECAY`] of what exceeds 1, so that one odd batch is not remembered for ever.
//! Bounds: at most [`MAX_FACTOR`]; a single item always goes.

/// Set above what was proved, since the true size is known to be larger only.
const HEADROOM: f64 = 1.25;
/// Successes over which a correction fades by 1/e.
const DECAY: f64 = 256.0;
/// Beyond this each item goes alone in any plan that makes sense.
const MAX_FACTOR: f64 = 1e6;

/// A factor on size estimates.
#[derive(Debug)]
pub(crate) struct SizeCorrection {
    factor: f64,
}

impl Default for SizeCorrection {
    fn default() -> Self {
        Self { factor: 1.0 }
    }
}

impl SizeCorrection {
    /// The bound, in estimated bytes, that corresponds to a bound in true bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the bound")]
    pub(crate) fn corrected(&self, bound: u64) -> u64 {
        if self.factor == 1.0 { bound } else { ((bound as f64 / self.factor) as u64).max(1) }
    }

    /// A batch of this estimate exceeded the bound.
    pub(crate) fn on_too_large(&mut self, bound: u64, estimate: u64) {
        let proved = bound as f64 / estimate.max(1) as f64;
        self.factor = self.factor.max(proved * HEADROOM).min(MAX_FACTOR);
    }

    #[inline]
    pub(crate) fn on_success(&mut self) {
        if self.factor > 1.0 {
            let excess = (self.factor - 1.0) * (1.0 - 1.0 / DECAY);
            self.factor = if excess < 1e-3 { 1.0 } else { 1.0 + excess };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_was_too_large_is_not_formed_again() {
        let mut correction = SizeCorrection::default();
        assert_eq!(correction.corrected(1_000), 1_000);
        correction.on_too_large(1_000, 400);
        assert!(correction.corrected(1_000) < 400);
    }

    #[test]
    fn batches_of_one_size_prove_the_same_thing_once() {
        let mut correction = SizeCorrection::default();
        (0..10).for_each(|_| correction.on_too_large(1_000, 400));
        assert_eq!(correction.corrected(1_000), 320);
    }

    #[test]
    fn successes_make_it_fade_to_nothing() {
        let mut correction = SizeCorrection::default();
        correction.on_too_large(1_000, 10);
        (0..5_000).for_each(|_| correction.on_success());
        assert_eq!(correction.corrected(1_000), 1_000);
    }

    #[test]
    fn stays_usable_when_nothing_ever_fits() {
        let mut correction = SizeCorrection::default();
        (0..1_000).for_each(|_| correction.on_too_large(1_000, 1));
        assert!(correction.corrected(1) >= 1);
    }
}
