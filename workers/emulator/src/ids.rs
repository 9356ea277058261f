//! Request and revision ids in the form of UUIDs, and the numbers behind alias weights. Deliberately not random in the
//! cryptographic sense: a counter through a mixing function, seeded once, so that a seeded run repeats.

use std::sync::atomic::{AtomicU64, Ordering};

/// A source of ids; equal seeds give equal sequences.
#[derive(Debug)]
pub(crate) struct IdSource {
    seed: u64,
    next: AtomicU64,
}

impl IdSource {
    /// A source that starts from `seed`.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0) }
    }

    /// The next 64 mixed bits.
    pub(crate) fn next_bits(&self) -> u64 {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        mix(self.seed ^ mix(count))
    }

    /// The next number in 0..1, for weighted choices.
    pub(crate) fn next_unit(&self) -> f64 {
        unit(self.next_bits())
    }

    /// The next id in the text form of a version 4 UUID.
    pub(crate) fn next_uuid(&self) -> String {
        let high = self.next_bits();
        let low = self.next_bits();
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0x0fff,
            ((low >> 48) & 0x3fff) | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}

/// Maps 64 bits to 0..1.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finaliser of SplitMix64: a bijection that spreads neighbouring numbers.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_a_version_4_uuid_and_differ() {
        let ids = IdSource::new(7);
        let first = ids.next_uuid();
        assert_eq!(first.len(), 36);
        assert_eq!(&first[14..15], "4");
        assert!(matches!(&first[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(first, ids.next_uuid());
    }

    #[test]
    fn equal_seeds_give_equal_sequences() {
        let (a, b) = (IdSource::new(1), IdSource::new(1));
        assert!((0..100).all(|_| a.next_bits() == b.next_bits()));
        assert_ne!(IdSource::new(2).next_bits(), IdSource::new(1).next_bits());
    }

    #[test]
    fn units_are_spread_over_the_interval() {
        let ids = IdSource::new(3);
        let mean = (0..10_000).map(|_| ids.next_unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
    }
}
