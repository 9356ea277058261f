//! Which models embed: one text in, one vector of floats out.

use workers_protocol::{Datatype, ModelManifest};

use super::error::OpenAiError;
use super::request::{EmbeddingsRequest, Texts};
use crate::inference::{InputTensor, ItemShape};
use crate::registry::ServedModel;

/// A model as `/v1/embeddings` sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedder {
    /// Length of a vector, if it is always the same.
    pub dimensions: Option<u32>,
    /// Shape of one text in the model's input: one string.
    item_shape: ItemShape,
}

impl Embedder {
    /// The model, if it takes one string an item and gives one vector of FP32 or FP64.
    #[must_use]
    pub fn of(manifest: &ModelManifest) -> Option<Self> {
        let ([input], [output]) = (manifest.inputs.as_slice(), manifest.outputs.as_slice()) else {
            return None;
        };
        let takes_text =
            input.datatype == Datatype::Bytes && input.shape.iter().all(|&dim| matches!(dim, 1 | -1));
        let &[width] = output.shape.as_slice() else { return None };
        let gives_floats = matches!(output.datatype, Datatype::Fp32 | Datatype::Fp64);
        (takes_text && gives_floats).then(|| Self {
            dimensions: u32::try_from(width).ok(),
            item_shape: input.shape.iter().map(|_| 1).collect(),
        })
    }

    /// The model, if a request fits it.
    ///
    /// # Errors
    /// A model that does not embed, or `dimensions` that it does not have.
    pub fn fit(model: &ServedModel, request: &EmbeddingsRequest) -> Result<Self, OpenAiError> {
        let name = &model.name;
        let embedder = Self::of(&model.manifest).ok_or_else(|| {
            let text = format!(
                "model `{name}` does not embed: it would need one text input and one output, a vector of floats"
            );
            OpenAiError::invalid(Some("model"), text)
        })?;
        match (request.dimensions, embedder.dimensions) {
            (None, _) => Ok(embedder),
            (Some(asked), Some(has)) if asked == u64::from(has) => Ok(embedder),
            (Some(asked), Some(has)) => {
                let text = format!(
                    "{asked} is not possible: vectors of model `{name}` have {has} and cannot be cut"
                );
                Err(OpenAiError::invalid(Some("dimensions"), text))
            }
            (Some(_), None) => {
                let text = format!("is not possible: vectors of model `{name}` cannot be cut");
                Err(OpenAiError::invalid(Some("dimensions"), text))
            }
        }
    }

    /// The texts as the model's input, one an item.
    #[must_use]
    pub fn input(&self, texts: &Texts) -> InputTensor {
        InputTensor {
            item_shape: self.item_shape.clone(),
            data: texts.data.clone(),
            item_ends: Some(texts.ends.clone()),
        }
    }
}
