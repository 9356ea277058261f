//! Texts of a given number of tokens, from a fixed word list with seeded choice.
//!
//! Each word is one token of the usual English WordPiece vocabularies, which add one token before and one after: a text of n tokens has n − 2
//! words. The texts mean nothing, and are ours.

use crate::random::Random;

const WORDS: [&str; 96] = [
    "the", "film", "was", "good", "and", "long", "but", "story", "had", "great", "music", "with", "very",
    "little", "time", "for", "people", "who", "like", "action", "or", "quiet", "drama", "we", "saw", "it",
    "last", "night", "found", "that", "every", "scene", "had", "been", "made", "by", "hand", "some", "parts",
    "were", "slow", "others", "moved", "fast", "all", "of", "them", "looked", "fine", "on", "a", "large",
    "screen", "she", "played", "her", "role", "well", "he", "did", "not", "always", "know", "what", "to",
    "say", "this", "end", "is", "bad", "news", "first", "half", "second", "house", "river", "city", "young",
    "old", "man", "woman", "child", "world", "water", "light", "dark", "road", "home", "work", "hard", "new",
    "small", "part", "play", "year", "book",
];

/// Seeded texts of one length.
#[derive(Clone, Debug)]
pub struct Texts {
    words: usize,
    random: Random,
}

impl Texts {
    /// Texts of `tokens` tokens, the two that a tokenizer adds included; at least one word.
    #[must_use]
    pub fn new(tokens: u32, seed: u64) -> Self {
        Self { words: (tokens as usize).saturating_sub(2).max(1), random: Random::new(seed) }
    }
}

impl Iterator for Texts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let words: Vec<&str> = (0..self.words).map(|_| WORDS[self.random.below(WORDS.len())]).collect();
        Some(words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_length_and_repeat_with_their_seed() {
        let texts: Vec<String> = Texts::new(16, 1).take(20).collect();
        assert!(texts.iter().all(|text| text.split(' ').count() == 14));
        assert_eq!(texts, Texts::new(16, 1).take(20).collect::<Vec<_>>());
        assert_ne!(texts, Texts::new(16, 2).take(20).collect::<Vec<_>>());
        assert_eq!(Texts::new(0, 1).next().unwrap().split(' ').count(), 1);
    }
}
