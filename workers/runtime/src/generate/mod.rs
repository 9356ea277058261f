//! The worker loop of models that generate: a shard's prompts in, their continuations out, token by token.
//!
//! The counterpart of `shard::run`, with the same frames at both ends. Answers are handed out as texts end, and at least four
//! times a second something is said, so that a long text is not taken for a hung process. A decoder that fails on several texts
//! is tried again with each alone, so that only the guilty ones have no value.
//! Deliberately absent: streaming to the client (an invocation answers once), and texts that outlive an invocation.

mod choose;
mod outbox;
mod parameters;
mod round;
mod sequence;
#[cfg(test)]
mod tests;

use std::time::Instant;

use workers_protocol::{GenerationSpec, ItemErrorCode, ModelManifest, WorkUnit};

use crate::engine::{Decoder, EngineError};
use crate::shard::text::TextEncoder;
use crate::wire::{Part, Shard};
use outbox::Outbox;
pub(crate) use parameters::{Parameters, elements};
use round::Round;
use sequence::Sequence;

/// A loaded decoder with all that is needed to continue texts.
pub(crate) struct Generator<D> {
    manifest: ModelManifest,
    spec: GenerationSpec,
    decoder: D,
    text: TextEncoder,
}

/// An item that cannot be continued, and why.
type Refused = (u32, String);

impl<D: Decoder> Generator<D> {
    /// Joins a manifest and its generation section with its decoder and tokenizer.
    pub(crate) fn new(manifest: ModelManifest, spec: GenerationSpec, decoder: D, text: TextEncoder) -> Self {
        debug_assert_eq!(manifest.work.unit, WorkUnit::Tokens, "the manifest was checked");
        Self { manifest, spec, decoder, text }
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    /// Continues a shard's texts and hands out the parts of the answer, the last one marked.
    ///
    /// # Errors
    /// What `emit` says; the rest of the shard is then left.
    pub(crate) fn run<E>(&mut self, shard: &Shard, emit: impl FnMut(Part) -> Result<(), E>) -> Result<(), E> {
        let started = Instant::now();
        let (texts, refused) = self.prepare(shard);
        let mut outbox = Outbox::new(shard, &self.manifest, emit);
        outbox.usage().tokenize_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        for (item, why) in refused {
            outbox.fail(item, ItemErrorCode::InvalidInput, why);
        }
        outbox.flush()?;
        let Some(error) = continue_all(&mut self.decoder, &self.spec, &self.text, texts, &mut outbox)? else {
            return Ok(());
        };
        let (left, error) = error;
        let again = matches!(error, EngineError::Run(_)) && left.len() > 1;
        for text in left {
            if !again {
                outbox.fail(text.item, ItemErrorCode::ModelFailed, error.to_string());
                continue;
            }
            let alone = vec![text.afresh()];
            let failed = continue_all(&mut self.decoder, &self.spec, &self.text, alone, &mut outbox)?;
            for (text, error) in failed.into_iter().flat_map(|(left, error)| left.into_iter().zip([error])) {
                outbox.fail(text.item, ItemErrorCode::ModelFailed, error.to_string());
            }
        }
        outbox.flush()
    }

    /// The items as texts ready to be read, and those that cannot be.
    fn prepare(&self, shard: &Shard) -> (Vec<Sequence>, Vec<Refused>) {
        let Some(input) = shard.inputs.first() else {
            return (Vec::new(), refuse_all(shard, "the text is missing"));
        };
        let ranges = match input.item_ranges(shard.items as usize) {
            Ok(ranges) => ranges,
            Err(error) => return (Vec::new(), refuse_all(shard, &error.to_string())),
        };
        let (mut texts, mut refused) = (Vec::new(), Vec::new());
        for (item, range) in (0..).zip(ranges) {
            match self.sequence(item, &input.data[range]) {
                Ok(text) => texts.push(text),
                Err(why) => refused.push((item, why)),
            }
        }
        (texts, refused)
    }

    fn sequence(&self, item: u32, bytes: &[u8]) -> Result<Sequence, String> {
        let (prompt, parameters) = elements(bytes)?;
        let parameters = Parameters::read(parameters, &self.spec)?;
        let tokens = self.text.encode(prompt).map_err(|error| error.to_string())?.ids;
        let max_length = self.manifest.max_length.unwrap_or(u32::MAX);
        if tokens.is_empty() {
            return Err("the prompt has no token".to_owned());
        }
        if tokens.len() > max_length as usize {
            return Err(format!("the prompt has more than {max_length} tokens"));
        }
        Ok(Sequence::new(item, tokens, parameters))
    }
}

fn refuse_all(shard: &Shard, why: &str) -> Vec<Refused> {
    (0..shard.items).map(|item| (item, why.to_owned())).collect()
}

/// Continues texts to their ends. Gives those that are left after an error of the decoder, with the error.
fn continue_all<D: Decoder, E, F: FnMut(Part) -> Result<(), E>>(
    decoder: &mut D,
    spec: &GenerationSpec,
    text: &TextEncoder,
    texts: Vec<Sequence>,
    outbox: &mut Outbox<'_, F>,
) -> Result<Option<(Vec<Sequence>, EngineError)>, E> {
    let mut round = Round::new(decoder, spec, texts);
    while !round.is_done() {
        let advanced = round.advance();
        outbox.usage().add(&std::mem::take(&mut round.usage));
        match advanced {
            Ok(ended) => ended.iter().for_each(|ended| outbox.answer(ended, text)),
            Err(error) => {
                let (ended, left): (Vec<_>, Vec<_>) =
                    round.into_texts().into_iter().partition(|text| text.finish.is_some());
                ended.iter().for_each(|ended| outbox.answer(ended, text));
                return Ok(Some((left, error)));
            }
        }
        outbox.flush()?;
    }
    Ok(None)
}
