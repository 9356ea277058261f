//! The two ways in which a model process works on a shard: once through the model, or token by token.
//!
//! Which one, the manifest says. Everything around it (zygote, pool, frames, supervisor) is the same for both.

use workers_protocol::ModelManifest;

use crate::engine::OnnxDecoder;
use crate::generate::Generator;
use crate::shard::run::Runner;
use crate::wire::{Part, Shard};

/// A loaded model and what it does with a shard.
pub(crate) enum ModelLoop {
    /// Each item goes through the model once.
    Once(Box<Runner>),
    /// Each item is a prompt that is continued.
    Generate(Box<Generator<OnnxDecoder>>),
}

impl ModelLoop {
    /// The manifest.
    pub(crate) fn manifest(&self) -> &ModelManifest {
        match self {
            Self::Once(runner) => runner.manifest(),
            Self::Generate(generator) => generator.manifest(),
        }
    }

    /// Works on a shard and hands out the parts of its answer, the last one marked.
    ///
    /// # Errors
    /// What `emit` says; the rest of the shard is then left.
    pub(crate) fn run<E>(&mut self, shard: &Shard, emit: impl FnMut(Part) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Once(runner) => runner.run(shard, emit),
            Self::Generate(generator) => generator.run(shard, emit),
        }
    }
}
