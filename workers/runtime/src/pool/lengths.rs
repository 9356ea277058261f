//! How long a text will be in tokens, guessed from its bytes, to balance processes before any of them has tokenized it.
//!
//! Statistic: tokens per byte over the texts seen so far, halved in weight at every `WEIGHT_BYTES`. Only the ratio between
//! texts matters for the cut, except where long texts are truncated; there the bound makes them equal, as truncation does.
//! Bounds and first start: a quarter token per byte, right for English word pieces. Deliberately absent: the tokenizer.

const FIRST_TOKENS_PER_BYTE: f64 = 0.25;
const FIRST_WEIGHT_BYTES: f64 = 1_000.0;
const WEIGHT_BYTES: f64 = 1_000_000.0;
/// Tokens that a tokenizer adds to each text.
const ADDED_TOKENS: f64 = 2.0;

/// The running guess.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LengthGuess {
    tokens: f64,
    bytes: f64,
    max_length: f64,
}

impl LengthGuess {
    /// A guess for texts that are cut at `max_length` tokens.
    pub(crate) fn new(max_length: Option<u32>) -> Self {
        Self {
            tokens: FIRST_TOKENS_PER_BYTE * FIRST_WEIGHT_BYTES,
            bytes: FIRST_WEIGHT_BYTES,
            max_length: max_length.map_or(f64::from(u32::MAX), f64::from),
        }
    }

    /// Tokens of a text of so many bytes.
    pub(crate) fn tokens(&self, bytes: usize) -> u32 {
        let guess = (ADDED_TOKENS + bytes as f64 * self.tokens / self.bytes).min(self.max_length);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of at most u32::MAX"
        )]
        let whole = guess.round() as u32;
        whole
    }

    /// Learns from texts that had so many bytes and tokens in all. Texts near the bound say nothing and are to be left out.
    pub(crate) fn learn(&mut self, texts: u64, bytes: u64, tokens: u64) {
        self.bytes += bytes as f64;
        self.tokens += (tokens as f64 - ADDED_TOKENS * texts as f64).max(0.0);
        if self.bytes > WEIGHT_BYTES {
            self.bytes /= 2.0;
            self.tokens /= 2.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guess_follows_the_texts() {
        let mut guess = LengthGuess::new(Some(128));
        assert_eq!(guess.tokens(80), 22);
        for _ in 0..1_000 {
            guess.learn(10, 1_000, 520);
        }
        assert!((50..=54).contains(&guess.tokens(100)), "{}", guess.tokens(100));
        assert_eq!(guess.tokens(100_000), 128, "truncated");
    }
}
