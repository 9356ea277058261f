//! A text that is being continued: its prompt, what was written so far, and whether that is all.

use workers_protocol::GenerationSpec;

use super::choose::Choice;
use super::parameters::Parameters;

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The model chose a stop token.
    Stop,
    /// The item's `max_tokens` are written.
    Length,
}

impl Finish {
    /// The word that clients get.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// One item on its way.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// Position in the shard.
    pub(super) item: u32,
    /// Tokens of the prompt, at least one.
    pub(super) prompt: Vec<u32>,
    /// Tokens written, without a stop token.
    pub(super) written: Vec<u32>,
    /// Set when there is nothing more to write.
    pub(super) finish: Option<Finish>,
    parameters: Parameters,
    choice: Choice,
}

impl Sequence {
    pub(super) fn new(item: u32, prompt: Vec<u32>, parameters: Parameters) -> Self {
        let choice = Choice::new(&parameters);
        Self { item, prompt, written: Vec::new(), finish: None, parameters, choice }
    }

    /// Columns that the cache holds of it once its prompt is read: all tokens but the last one written.
    pub(super) fn cached(&self) -> usize {
        self.prompt.len() + self.written.len().saturating_sub(1)
    }

    /// The token that is to be read next, once the prompt is.
    pub(super) fn last_token(&self) -> u32 {
        self.written.last().or(self.prompt.last()).copied().unwrap_or_default()
    }

    /// Chooses the next token.
    pub(super) fn choose(&mut self, logits: &[f32], spec: &GenerationSpec) {
        let token = self.choice.next(logits);
        if spec.stop_tokens.contains(&token) {
            self.finish = Some(Finish::Stop);
            return;
        }
        self.written.push(token);
        if self.written.len() >= self.parameters.max_tokens as usize {
            self.finish = Some(Finish::Length);
        }
    }

    /// The same item as if nothing had been written.
    pub(super) fn afresh(self) -> Self {
        Self::new(self.item, self.prompt, self.parameters)
    }
}
