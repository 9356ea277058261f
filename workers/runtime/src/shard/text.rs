//! Text into token ids.
//!
//! **Where it happens.** In the model processes, after the cut over processes. The alternative was the supervisor, which would
//! cut by exact token counts; but it would tokenize on one core while the others wait, and load the tokenizer a second time (30 ms
//! of CPU per start). Measured with MiniLM and 64 short texts (4,000 to 8,000 bytes): tokenizing takes about 6 ms beside 500 ms of
//! engine time, and balancing by what bytes foretell (`pool::LengthGuess`) left the padded tokens of two processes within 2 % of
//! each other and those of four within 7 % of their mean, most within 3 %. So either place would do; this one is parallel
//! and costs no memory. Inside a process the exact lengths decide about padding.
//! Deliberately absent: the tokenizer's own padding (runs are padded to their longest here) and its thread pool.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationParams};

/// Bytes per token that a prefix is cut at before tokenizing a long text.
const PREFIX_BYTES_PER_TOKEN: usize = 32;

/// Token ids of a text, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// `input_ids`.
    pub(crate) ids: Vec<u32>,
    /// `token_type_ids`.
    pub(crate) type_ids: Vec<u32>,
}

/// A text that cannot be tokenized.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextError {
    /// Not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The tokenizer's reason.
    #[error("the tokenizer refused the text")]
    Refused,
}

/// A tokenizer with truncation and without padding.
#[derive(Debug)]
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
    max_length: Option<usize>,
}

impl TextEncoder {
    /// Loads a `tokenizer.json`. Texts are cut at `max_length` tokens, special ones included.
    ///
    /// # Errors
    /// The library's reason.
    pub(crate) fn load(path: &Path, max_length: Option<u32>) -> Result<Self, String> {
        tokenizers::utils::parallelism::set_parallelism(false);
        let mut tokenizer = Tokenizer::from_file(path).map_err(|error| error.to_string())?;
        let max_length = max_length.map(|length| length as usize);
        if let Some(max_length) = max_length {
            let truncation = TruncationParams { max_length, ..TruncationParams::default() };
            tokenizer.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
        }
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, max_length })
    }

    /// Tokenizes one text.
    ///
    /// # Errors
    /// Not UTF-8, or refused by the tokenizer.
    pub(crate) fn encode(&self, text: &[u8]) -> Result<Tokens, TextError> {
        let text = std::str::from_utf8(text).map_err(|_| TextError::NotUtf8)?;
        if let Some(prefix) = self.prefix(text) {
            let encoding = self.tokenizer.encode_fast(prefix, true).map_err(|_| TextError::Refused)?;
            // The cut can only have changed the last word, and that word was cut off.
            if encoding.get_overflowing().iter().any(|rest| rest.len() > 2) {
                return Ok(tokens(&encoding));
            }
        }
        self.tokenizer
            .encode_fast(text, true)
            .map(|encoding| tokens(&encoding))
            .map_err(|_| TextError::Refused)
    }

    /// The text of token ids, special tokens left out. Bytes that make no UTF-8 become replacement characters.
    ///
    /// # Errors
    /// Refused by the tokenizer.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.tokenizer.decode(ids, true).map_err(|_| TextError::Refused)
    }

    /// The beginning of a text that is so long that most of it would be tokenized only to be cut off.
    fn prefix<'a>(&self, text: &'a str) -> Option<&'a str> {
        let limit = self.max_length?.checked_mul(PREFIX_BYTES_PER_TOKEN)?;
        let head = text.get(..(0..=limit).rev().find(|&at| text.is_char_boundary(at))?)?;
        if head.len() == text.len() {
            return None;
        }
        head.rsplit_once(char::is_whitespace).map(|(prefix, _)| prefix)
    }
}

fn tokens(encoding: &tokenizers::Encoding) -> Tokens {
    Tokens { ids: encoding.get_ids().to_vec(), type_ids: encoding.get_type_ids().to_vec() }
}
