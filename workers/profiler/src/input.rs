//! Batches for a model, from what its manifest says of its inputs.
//!
//! Items come from a data file if there is one ([`crate::data`]). Otherwise an input of byte strings gets texts; one of numbers with a fixed shape
//! gets zeros, whose cost in the usual engines is that of other numbers.
//! Deliberately absent: inputs of variable shape other than text, which a sweep could not size.

use std::path::{Path, PathBuf};

use workers_protocol::{Datatype, ItemShapes, ModelManifest, RequestHeader, TensorChunks, TensorSpec};

use crate::Texts;
use crate::data::{DataError, Rows};

/// A manifest that no batch can be made for.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("cannot read the manifest `{}`", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no manifest.
    #[error("`{}` is no manifest", path.display())]
    Manifest {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: workers_protocol::ManifestError,
    },
    /// An input that cannot be made up.
    #[error("input `{input}`: numbers of variable shape cannot be made up")]
    VariableShape {
        /// Its name.
        input: String,
    },
    /// A data file that cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Makes payloads for one model.
#[derive(Clone, Debug)]
pub struct Inputs {
    manifest: ModelManifest,
    texts: Texts,
    rows: Option<Rows>,
}

impl Inputs {
    /// Reads the manifest at `path`; texts have `tokens` tokens.
    ///
    /// # Errors
    /// As [`InputError`].
    pub fn from_manifest(path: &Path, tokens: u32, seed: u64) -> Result<Self, InputError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| InputError::Read { path: path.to_path_buf(), source })?;
        let manifest = ModelManifest::parse(&text)
            .map_err(|source| InputError::Manifest { path: path.to_path_buf(), source })?;
        if let Some(spec) = manifest.inputs.iter().find(|spec| item_bytes(spec).is_none()) {
            return Err(InputError::VariableShape { input: spec.name.clone() });
        }
        Ok(Self { manifest, texts: Texts::new(tokens, seed), rows: None })
    }

    /// Takes items from a data file instead of making them up, in an order by `seed`, from the start again when all were used.
    ///
    /// # Errors
    /// As [`InputError`].
    pub fn with_data(mut self, path: &Path, field: Option<&str>, seed: u64) -> Result<Self, InputError> {
        self.rows = Some(Rows::read(path, field, &self.manifest.inputs, seed)?);
        Ok(self)
    }

    /// Name and version of the model, which tell its measurements from those of another.
    #[must_use]
    pub fn model(&self) -> (&str, &str) {
        (&self.manifest.name, &self.manifest.version)
    }

    /// A payload with `items` new items, for `process_count` processes.
    pub fn payload(&mut self, batch: u64, process_count: u32, items: u32) -> Vec<u8> {
        let header = RequestHeader {
            batch,
            model: self.manifest.name.clone(),
            model_version: self.manifest.version.clone(),
            process_count,
            ..RequestHeader::default()
        };
        let ids: Vec<u64> = (0..u64::from(items)).collect();
        let specs = &self.manifest.inputs;
        let data: Vec<Vec<u8>> = match &mut self.rows {
            Some(rows) => rows.take(items),
            None => specs.iter().map(|spec| data(spec, items, &mut self.texts)).collect(),
        };
        let tensors: Vec<TensorChunks<'_>> = self
            .manifest
            .inputs
            .iter()
            .zip(&data)
            .map(|(spec, data)| TensorChunks {
                name: &spec.name,
                datatype: spec.datatype,
                item_shapes: ItemShapes::Same(shape(spec)),
                chunks: vec![data],
            })
            .collect();
        header.encode(&ids, &tensors)
    }
}

fn data(spec: &TensorSpec, items: u32, texts: &mut Texts) -> Vec<u8> {
    let elements: u32 = shape(spec).iter().product();
    let mut data = Vec::new();
    for _ in 0..items {
        match item_bytes(spec) {
            Some(bytes) if spec.datatype != Datatype::Bytes => data.resize(data.len() + bytes, 0),
            _ => {
                for text in texts.take(elements as usize) {
                    // A text is some hundred bytes.
                    data.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                    data.extend_from_slice(text.as_bytes());
                }
            }
        }
    }
    data
}

/// The shape of one item; a variable dimension of texts is one.
pub(crate) fn shape(spec: &TensorSpec) -> Vec<u32> {
    spec.shape.iter().map(|&dim| u32::try_from(dim).unwrap_or(1)).collect()
}

/// Bytes of one item, 0 for texts, whose length is not fixed; `None` where the shape is not.
fn item_bytes(spec: &TensorSpec) -> Option<usize> {
    let Some(element) = spec.datatype.element_bytes() else { return Some(0) };
    spec.shape.iter().try_fold(element, |bytes, &dim| bytes.checked_mul(usize::try_from(dim).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use workers_protocol::Request;

    fn inputs(tensor: &str) -> Result<Inputs, InputError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.toml");
        let text = format!(
            "name = 'm'\nversion = '2'\nengine = 'identity'\n[[inputs]]\n{tensor}\n[[outputs]]\n{tensor}\n"
        );
        std::fs::write(&path, text).unwrap();
        Inputs::from_manifest(&path, 16, 1)
    }

    #[test]
    fn a_payload_is_a_request_that_the_worker_can_read() {
        let mut texts = inputs("name = 't'\ndatatype = 'BYTES'\nshape = [1]").unwrap();
        let request = Request::decode(&texts.payload(7, 2, 3)).unwrap();
        assert_eq!((request.header.batch, request.header.process_count), (7, 2));
        assert_eq!((&*request.header.model, &*request.header.model_version), ("m", "2"));
        assert_eq!(request.ids, [0, 1, 2]);
        let mut numbers = inputs("name = 'x'\ndatatype = 'FP32'\nshape = [4, 2]").unwrap();
        let request = Request::decode(&numbers.payload(0, 1, 5)).unwrap();
        assert_eq!(request.inputs[0].data.len(), 5 * 8 * 4);
        assert!(Request::decode(&numbers.payload(0, 1, 0)).unwrap().ids.is_empty());
    }

    #[test]
    fn numbers_of_variable_shape_are_refused() {
        let error = inputs("name = 'x'\ndatatype = 'FP32'\nshape = [-1]").unwrap_err();
        assert!(error.to_string().contains("`x`"), "{error}");
        let missing = Inputs::from_manifest(Path::new("absent.toml"), 16, 1).unwrap_err();
        assert!(missing.to_string().contains("absent.toml"));
    }
}
