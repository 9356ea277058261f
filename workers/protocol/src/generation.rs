//! The part of a manifest that makes the worker generate text, and what such a model takes and gives.
//!
//! An item is one BYTES tensor of one or two elements: the prompt, and optionally its parameters as a JSON object (`max_tokens`,
//! `temperature`, `seed`). Deliberately absent: chat templates; a prompt is continued as it comes.

use serde::Deserialize;

use crate::manifest::{Engine, ManifestError, ModelManifest, WorkUnit, field};
use crate::{Datatype, TensorSpec};

/// How texts are continued.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationSpec {
    /// New tokens of an item that does not say; 1 to `max_tokens_limit`.
    pub max_tokens: u32,
    /// The most that an item may ask for. With `max_length` it bounds the cache of one item.
    pub max_tokens_limit: u32,
    /// Items that one process continues at the same time, 1 to 1,024; the others wait. More: fewer steps, a larger cache.
    pub max_rows: u32,
    /// Tokens that end a text; they are not part of it. May be empty.
    pub stop_tokens: Vec<u32>,
}

/// What a generating model can give for an item; the manifest's outputs are named so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationOutput {
    /// BYTES: the continuation, without the prompt.
    Text,
    /// INT32: tokens of the prompt.
    PromptTokens,
    /// INT32: tokens of the continuation.
    CompletionTokens,
    /// BYTES: `stop` at a stop token, `length` at the item's `max_tokens`.
    FinishReason,
}

impl GenerationOutput {
    /// Every output.
    pub const ALL: [Self; 4] = [Self::Text, Self::PromptTokens, Self::CompletionTokens, Self::FinishReason];

    /// Its name in the manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::PromptTokens => "prompt_tokens",
            Self::CompletionTokens => "completion_tokens",
            Self::FinishReason => "finish_reason",
        }
    }

    /// Its element type.
    #[must_use]
    pub const fn datatype(self) -> Datatype {
        match self {
            Self::Text | Self::FinishReason => Datatype::Bytes,
            Self::PromptTokens | Self::CompletionTokens => Datatype::Int32,
        }
    }

    /// The output that a manifest's entry stands for.
    #[must_use]
    pub fn of(spec: &TensorSpec) -> Option<Self> {
        let output = Self::ALL.into_iter().find(|output| output.name() == spec.name)?;
        (output.datatype() == spec.datatype && matches!(spec.shape.as_slice(), [] | [1])).then_some(output)
    }
}

impl GenerationSpec {
    /// Checks the section against itself and the rest of its manifest.
    pub(crate) fn check(&self, manifest: &ModelManifest) -> Result<(), ManifestError> {
        if manifest.engine != Engine::OnnxRuntime {
            return Err(field("generation", "needs the engine `onnxruntime`"));
        }
        let text_input = manifest.tokenizer.as_ref().map(|tokenizer| tokenizer.input.as_str());
        let [input] = manifest.inputs.as_slice() else {
            return Err(field("inputs", "must be the text alone for generation"));
        };
        if text_input != Some(input.name.as_str()) || !matches!(input.shape.as_slice(), [-1 | 1]) {
            return Err(field("inputs", "must be the tokenizer's input of shape [-1] or [1] for generation"));
        }
        if !manifest.outputs.iter().all(|spec| GenerationOutput::of(spec).is_some()) {
            let known = "`text` (BYTES), `prompt_tokens`, `completion_tokens` (INT32), `finish_reason` (BYTES), of shape [1]";
            return Err(field("outputs", format!("can be {known} for generation")));
        }
        if manifest.max_length.is_none() || manifest.work.unit != WorkUnit::Tokens {
            return Err(field("max_length", "is needed for generation, with work counted in tokens"));
        }
        if !(1..=self.max_tokens_limit).contains(&self.max_tokens) {
            return Err(field("generation.max_tokens", "must be 1 to `max_tokens_limit`"));
        }
        if !(1..=1_024).contains(&self.max_rows) {
            return Err(field("generation.max_rows", "must be 1 to 1024"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name='m'\nversion='1'\nengine='onnxruntime'\nfile='model.onnx'\n\
        sha256='ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\nmax_length=8\n\
        [[inputs]]\nname='text'\ndatatype='BYTES'\nshape=[-1]\n\
        [[outputs]]\nname='text'\ndatatype='BYTES'\nshape=[1]\n\
        [[outputs]]\nname='completion_tokens'\ndatatype='INT32'\nshape=[1]\n\
        [tokenizer]\nfile='t'\nsha256='ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\ninput='text'\n\
        [generation]\nmax_tokens=4\nmax_tokens_limit=9\nmax_rows=2\nstop_tokens=[0, 2]\n[work]\nunit='tokens'\n";

    #[test]
    fn section_is_read() {
        let generation = ModelManifest::parse(MANIFEST).unwrap().generation.unwrap();
        let expected =
            GenerationSpec { max_tokens: 4, max_tokens_limit: 9, max_rows: 2, stop_tokens: vec![0, 2] };
        assert_eq!(generation, expected);
    }

    #[test]
    fn what_cannot_be_generated_with_is_refused_by_its_field() {
        let cases = [
            ("max_tokens=4", "max_tokens=10", "generation.max_tokens"),
            ("max_tokens=4", "max_tokens=0", "generation.max_tokens"),
            ("max_rows=2", "max_rows=0", "generation.max_rows"),
            ("completion_tokens", "logits", "outputs"),
            ("'INT32'", "'INT64'", "outputs"),
            ("shape=[-1]", "shape=[2]", "inputs"),
            ("unit='tokens'", "unit='bytes'", "max_length"),
            ("max_length=8\n", "", "max_length"),
            ("engine='onnxruntime'", "engine='identity'", "generation"),
        ];
        for (from, to, expected) in cases {
            let mut text = MANIFEST.replacen(from, to, 1);
            if to.contains("identity") {
                text = text.replacen(
                    "[[outputs]]\nname='completion_tokens'\ndatatype='INT32'\nshape=[1]\n",
                    "",
                    1,
                );
            }
            match ModelManifest::parse(&text) {
                Err(ManifestError::Field { field, .. }) => assert_eq!(field, expected, "{to}"),
                other => panic!("{to}: {other:?}"),
            }
        }
    }
}
