//! What a generating process has to say: ended texts as parts of the shard's answer, errors, and signs of life.

use std::time::{Duration, Instant};

use workers_protocol::{GenerationOutput, ItemErrorCode, ItemShapes, ModelManifest, Tensor, TensorSpec};

use super::sequence::Sequence;
use crate::shard::text::TextEncoder;
use crate::wire::{Part, Shard, Usage};

/// Longest silence while texts are being written.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);

/// The parts of one shard's answer.
pub(super) struct Outbox<'m, F> {
    manifest: &'m ModelManifest,
    emit: F,
    part: Part,
    ended: Vec<Ended>,
    unanswered: u32,
    is_closed: bool,
    last_sign: Instant,
}

/// A text that ended, as the client gets it.
struct Ended {
    text: String,
    prompt_tokens: u32,
    completion_tokens: u32,
    reason: &'static str,
}

impl<'m, F> Outbox<'m, F> {
    pub(super) fn new(shard: &Shard, manifest: &'m ModelManifest, emit: F) -> Self {
        Self {
            manifest,
            emit,
            part: Part { task: shard.task, ..Part::default() },
            ended: Vec::new(),
            unanswered: shard.items,
            is_closed: false,
            last_sign: Instant::now(),
        }
    }

    /// What the next part says it took.
    pub(super) fn usage(&mut self) -> &mut Usage {
        &mut self.part.usage
    }

    /// An item without a value.
    pub(super) fn fail(&mut self, item: u32, code: ItemErrorCode, why: String) {
        self.part.errors.push((item, code, why));
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// An item whose text has ended.
    pub(super) fn answer(&mut self, sequence: &Sequence, text: &TextEncoder) {
        let count = |tokens: &[u32]| u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        let written = match text.decode(&sequence.written) {
            Ok(written) => written,
            Err(error) => return self.fail(sequence.item, ItemErrorCode::ModelFailed, error.to_string()),
        };
        self.part.items.push(sequence.item);
        self.ended.push(Ended {
            text: written,
            prompt_tokens: count(&sequence.prompt),
            completion_tokens: count(&sequence.written),
            reason: sequence.finish.map_or("", super::sequence::Finish::word),
        });
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Hands out a part if there is something to say: answers, the end, or that it still goes on.
    ///
    /// # Errors
    /// What `emit` says.
    pub(super) fn flush<E>(&mut self) -> Result<(), E>
    where
        F: FnMut(Part) -> Result<(), E>,
    {
        let is_last = self.unanswered == 0;
        let has_answers = !self.ended.is_empty() || !self.part.errors.is_empty();
        let is_due = has_answers || is_last || self.last_sign.elapsed() >= SIGN_OF_LIFE;
        if self.is_closed || !is_due {
            return Ok(());
        }
        let ended = std::mem::take(&mut self.ended);
        if !ended.is_empty() {
            let outputs = self.manifest.outputs.iter();
            self.part.outputs =
                outputs.filter_map(|spec| Some(tensor(spec, GenerationOutput::of(spec)?, &ended))).collect();
        }
        self.part.last = is_last;
        self.is_closed = is_last;
        self.last_sign = Instant::now();
        let next = Part { task: self.part.task, ..Part::default() };
        (self.emit)(std::mem::replace(&mut self.part, next))
    }
}

fn tensor(spec: &TensorSpec, output: GenerationOutput, ended: &[Ended]) -> Tensor {
    let mut data = Vec::new();
    for item in ended {
        match output {
            GenerationOutput::Text => put_bytes(&mut data, item.text.as_bytes()),
            GenerationOutput::FinishReason => put_bytes(&mut data, item.reason.as_bytes()),
            GenerationOutput::PromptTokens => put_count(&mut data, item.prompt_tokens),
            GenerationOutput::CompletionTokens => put_count(&mut data, item.completion_tokens),
        }
    }
    let shape = spec.shape.iter().map(|&dim| u32::try_from(dim).unwrap_or(1)).collect();
    Tensor {
        name: spec.name.clone(),
        datatype: output.datatype(),
        item_shapes: ItemShapes::Same(shape),
        data: data.into(),
    }
}

fn put_bytes(data: &mut Vec<u8>, bytes: &[u8]) {
    data.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    data.extend_from_slice(bytes);
}

fn put_count(data: &mut Vec<u8>, count: u32) {
    data.extend_from_slice(&i32::try_from(count).unwrap_or(i32::MAX).to_le_bytes());
}
