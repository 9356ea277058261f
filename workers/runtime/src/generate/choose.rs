//! Which token comes next.
//!
//! **Rule.** Temperature 0: the largest logit, the first of equal ones. Else a token is drawn with probability proportional to
//! `exp(logit / temperature)`, by a generator (SplitMix64) that starts at the item's seed and is advanced once a token. So a text
//! depends on its prompt, its parameters and the model, never on its neighbours or on how often it was tried.
//! Deliberately absent: cut-offs by rank or probability mass, penalties.
//!
//! Reference: Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014 (SplitMix64).

use super::parameters::Parameters;

/// The choice of one text's tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    temperature: f32,
    state: u64,
}

impl Choice {
    pub(super) fn new(parameters: &Parameters) -> Self {
        Self { temperature: parameters.temperature, state: parameters.seed }
    }

    /// The next token, given a logit for each.
    pub(super) fn next(&mut self, logits: &[f32]) -> u32 {
        let index = if self.temperature > 0.0 {
            draw(logits, self.temperature, self.uniform())
        } else {
            largest(logits)
        };
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// A number in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn largest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = index;
        }
    }
    best
}

fn draw(logits: &[f32], temperature: f32, uniform: f64) -> usize {
    let top = logits.get(largest(logits)).copied().unwrap_or_default();
    let weight = |logit: &f32| f64::from((logit - top) / temperature).exp();
    let total: f64 = logits.iter().map(weight).sum();
    let mut left = uniform * total;
    for (index, logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return index;
        }
    }
    largest(logits) // rounding left a rest, or a logit is no number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(temperature: f32, seed: u64) -> Choice {
        Choice::new(&Parameters { max_tokens: 1, temperature, seed })
    }

    #[test]
    fn temperature_zero_takes_the_largest_logit() {
        assert_eq!(choice(0.0, 7).next(&[-1.0, 3.0, 3.0, 2.0]), 1);
    }

    #[test]
    fn drawn_tokens_follow_the_probabilities_and_the_seed() {
        let logits = [0.0, 3.0_f32.ln(), f32::NEG_INFINITY, 0.0];
        let draws = |seed| {
            let mut choice = choice(1.0, seed);
            (0..20_000).map(|_| choice.next(&logits)).collect::<Vec<_>>()
        };
        let drawn = draws(1);
        assert_eq!(drawn, draws(1));
        assert_ne!(drawn, draws(2));
        let share = |token| drawn.iter().filter(|&&other| other == token).count() as f64 / 20_000.0;
        for (token, expected) in [(0, 0.2), (1, 0.6), (2, 0.0), (3, 0.2)] {
            assert!((share(token) - expected).abs() < 0.02, "token {token}: {}", share(token));
        }
    }

    #[test]
    fn a_low_temperature_sharpens() {
        let mut cold = choice(0.05, 3);
        assert!((0..1_000).all(|_| cold.next(&[1.0, 2.0, 0.0]) == 1));
    }

    #[test]
    fn logits_that_are_no_numbers_do_not_panic() {
        assert_eq!(choice(0.0, 0).next(&[f32::NAN, 1.0]), 0);
        choice(1.0, 0).next(&[f32::NAN, f32::NAN]);
    }
}
