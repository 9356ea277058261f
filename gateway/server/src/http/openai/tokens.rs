//! Counts the tokens of texts for `usage`, as the model's own tokenizer makes them: special tokens included, what is cut off left out.
//!
//! The worker tokenizes in its model processes and tells sums per process, which hold the texts of other callers too; so that a caller's
//! own count is exact, the gateway counts once more, aside and while the batch is on its way. The tokenizer is read at the first count.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use tokenizers::{Tokenizer, TruncationParams};
use workers_protocol::{ModelManifest, TokenizerSpec};

/// Bytes per token of what is looked at when a text is far longer than the model takes.
const MOST_BYTES_PER_TOKEN: usize = 32;

/// A model's tokenizer, if it has one beside its manifest.
#[derive(Debug, Default)]
pub struct TokenCounter {
    source: Option<Source>,
    loaded: OnceLock<Option<Tokenizer>>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    sha256: String,
    max_length: Option<usize>,
}

impl TokenCounter {
    /// The tokenizer of a model whose folder is `folder`. Nothing is read yet.
    #[must_use]
    pub fn new(manifest: &ModelManifest, folder: &Path) -> Self {
        let source = |tokenizer: &TokenizerSpec| Source {
            path: folder.join(&tokenizer.file),
            sha256: tokenizer.sha256.clone(),
            max_length: manifest.max_length.map(|length| length as usize),
        };
        Self { source: manifest.tokenizer.as_ref().map(source), loaded: OnceLock::new() }
    }

    /// Whether counting takes time: then it must not be done on a thread that serves.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.source.is_some()
    }

    /// Tokens of all texts; 0 if the model has no tokenizer, or its file is not here. Blocks: the first call reads the file.
    pub fn count<'t>(&self, texts: impl Iterator<Item = &'t [u8]>) -> u64 {
        let Some(source) = &self.source else { return 0 };
        let Some(tokenizer) = self.loaded.get_or_init(|| source.load_or_tell()) else { return 0 };
        texts.map(|text| source.count(tokenizer, text)).sum()
    }
}

impl Source {
    fn load_or_tell(&self) -> Option<Tokenizer> {
        let told = |reason: String| {
            tracing::warn!(path = %self.path.display(), reason, "no tokenizer to count with: `usage` of embeddings says 0 tokens");
        };
        self.load().map_err(told).ok()
    }

    fn load(&self) -> Result<Tokenizer, String> {
        let bytes = std::fs::read(&self.path).map_err(|error| error.to_string())?;
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if digest != self.sha256 {
            return Err("its SHA-256 is not the manifest's".to_owned());
        }
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| error.to_string())?;
        if let Some(max_length) = self.max_length {
            let truncation = TruncationParams { max_length, ..TruncationParams::default() };
            tokenizer.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
        }
        tokenizer.with_padding(None);
        Ok(tokenizer)
    }

    fn count(&self, tokenizer: &Tokenizer, text: &[u8]) -> u64 {
        let Ok(text) = std::str::from_utf8(text) else { return 0 };
        let tokens = |text: &str| tokenizer.encode_fast(text, true).map_or(0, |encoding| encoding.len());
        let counted = match self.prefix(text) {
            // Full already: the rest would only be cut off.
            Some((prefix, max_length)) if tokens(prefix) == max_length => max_length,
            _ => tokens(text),
        };
        u64::try_from(counted).unwrap_or(u64::MAX)
    }

    /// The beginning of a text that is far longer than the model takes.
    fn prefix<'t>(&self, text: &'t str) -> Option<(&'t str, usize)> {
        let max_length = self.max_length?;
        let bytes = max_length.checked_mul(MOST_BYTES_PER_TOKEN)?;
        (text.len() > bytes).then(|| (&text[..text.floor_char_boundary(bytes)], max_length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"[UNK]":0,"a":1,"b":2},"unk_token":"[UNK]"}}"#;

    fn counter(folder: &Path, sha256: &str, max_length: u32) -> TokenCounter {
        let manifest = format!(
            "name = \"m\"\nversion = \"1\"\nengine = \"identity\"\nmax_length = {max_length}\n\
             inputs = [{{ name = \"text\", datatype = \"BYTES\", shape = [1] }}]\n\
             outputs = [{{ name = \"vector\", datatype = \"FP32\", shape = [2] }}]\n\
             tokenizer = {{ file = \"tokenizer.json\", sha256 = \"{sha256}\", input = \"text\" }}\n"
        );
        TokenCounter::new(&ModelManifest::parse(&manifest).unwrap(), folder)
    }

    #[test]
    fn tokens_are_the_tokenizers_and_end_where_the_model_cuts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), WORDS).unwrap();
        let sha256 = Sha256::digest(WORDS).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let counter = counter(folder.path(), &sha256, 5);
        let long = "a b ".repeat(10_000);
        assert_eq!(counter.count([&b"a b c"[..], b"a", long.as_bytes()].into_iter()), 3 + 1 + 5);
    }

    #[test]
    fn a_missing_or_foreign_file_counts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let text = || [&b"a b"[..]].into_iter();
        assert_eq!(counter(folder.path(), &"0".repeat(64), 5).count(text()), 0);
        std::fs::write(folder.path().join("tokenizer.json"), WORDS).unwrap();
        assert_eq!(counter(folder.path(), &"0".repeat(64), 5).count(text()), 0);
        assert_eq!(TokenCounter::default().count(text()), 0);
    }
}
