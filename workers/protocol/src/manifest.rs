//! `model.toml`: what a model folder says about its model. Read by the worker at load and by the gateway for validation.

use serde::Deserialize;

use crate::{Datatype, GenerationSpec};

/// A model folder's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Model name: letters, digits, `-`, `_`, `.`; 1 to 64 characters.
    pub name: String,
    /// Version, free text of the same alphabet.
    pub version: String,
    /// What runs it.
    pub engine: Engine,
    /// Model file inside the folder; absent for [`Engine::Identity`].
    #[serde(default)]
    pub file: Option<String>,
    /// Lower-case hexadecimal SHA-256 of `file`.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Whether the answers mean anything.
    #[serde(default)]
    pub weights: Weights,
    /// Platform name that model metadata shows, for example `onnx_onnxv1`.
    #[serde(default = "default_platform")]
    pub platform: String,
    /// Licence of the weights.
    #[serde(default)]
    pub license: Option<String>,
    /// Largest length of one item in work units; longer items are refused (`tokens`: cut, as the tokenizer's truncation says,
    /// but for generation, where a prompt is refused).
    #[serde(default)]
    pub max_length: Option<u32>,
    /// What clients send.
    pub inputs: Vec<TensorSpec>,
    /// What they get.
    pub outputs: Vec<TensorSpec>,
    /// Turns a BYTES input into token ids inside the worker.
    #[serde(default)]
    pub tokenizer: Option<TokenizerSpec>,
    /// Makes the worker continue the text token by token instead of running the model once.
    #[serde(default)]
    pub generation: Option<GenerationSpec>,
    /// Unit of work.
    #[serde(default)]
    pub work: WorkSpec,
}

fn default_platform() -> String {
    "onnx_onnxv1".to_owned()
}

/// The engine behind a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// ONNX Runtime on `file`.
    OnnxRuntime,
    /// Gives each input back as the output of the same position; for measurements of everything around a model.
    Identity,
}

/// Origin of the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// Trained: answers mean something.
    #[default]
    Real,
    /// Seeded random numbers in an exact architecture: good for speed only.
    Seeded,
}

/// A tensor as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: Datatype,
    /// Shape of one item, without the batch dimension; −1 stands for any length.
    pub shape: Vec<i64>,
}

/// The tokenizer of a text model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSpec {
    /// File inside the folder, in the `tokenizer.json` format.
    pub file: String,
    /// Lower-case hexadecimal SHA-256 of `file`.
    pub sha256: String,
    /// The BYTES input that it replaces by `input_ids`, `attention_mask` and, if the graph has it, `token_type_ids`.
    pub input: String,
}

/// How work is counted, for packing, sharding and cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkSpec {
    /// The unit.
    pub unit: WorkUnit,
    /// Units per item when the unit is [`WorkUnit::Items`].
    #[serde(default = "one")]
    pub per_item: u32,
}

fn one() -> u32 {
    1
}

impl Default for WorkSpec {
    fn default() -> Self {
        Self { unit: WorkUnit::Items, per_item: 1 }
    }
}

/// Unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkUnit {
    /// Every item costs the same.
    Items,
    /// Tokens after tokenizing, padded to the longest of a shard.
    Tokens,
    /// Bytes of the input.
    Bytes,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    /// Not TOML of the expected form; says line and column.
    #[error("model.toml: {0}")]
    Parse(String),
    /// A field with an impossible value.
    #[error("model.toml: `{field}` {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ModelManifest {
    /// Parses and validates a manifest. Does not look at the files that it names.
    ///
    /// # Errors
    /// The first thing that is wrong, with its field.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text).map_err(|error| ManifestError::Parse(error.to_string()))?;
        manifest.validate()?;
        Ok(manifest)
    }

    fn validate(&self) -> Result<(), ManifestError> {
        check_token("name", &self.name)?;
        check_token("version", &self.version)?;
        if self.engine == Engine::OnnxRuntime {
            let file = self.file.as_deref().ok_or_else(|| field("file", "is needed for this engine"))?;
            check_path("file", file)?;
            check_sha256("sha256", self.sha256.as_deref().unwrap_or_default())?;
        }
        for (name, specs) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            check_specs(name, specs)?;
        }
        if self.engine == Engine::Identity && self.inputs.len() != self.outputs.len() {
            return Err(field("outputs", "must match the inputs one to one for the identity engine"));
        }
        if let Some(tokenizer) = &self.tokenizer {
            check_path("tokenizer.file", &tokenizer.file)?;
            check_sha256("tokenizer.sha256", &tokenizer.sha256)?;
            if !self
                .inputs
                .iter()
                .any(|spec| spec.name == tokenizer.input && spec.datatype == Datatype::Bytes)
            {
                return Err(field("tokenizer.input", "must name an input of datatype BYTES"));
            }
        }
        self.generation.as_ref().map_or(Ok(()), |generation| generation.check(self))
    }
}

pub(crate) fn field(field: &'static str, reason: impl Into<String>) -> ManifestError {
    ManifestError::Field { field, reason: reason.into() }
}

fn check_token(name: &'static str, value: &str) -> Result<(), ManifestError> {
    let fits = (1..=64).contains(&value.len())
        && !value.starts_with('.')
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits { Ok(()) } else { Err(field(name, "must be 1 to 64 letters, digits, `-`, `_` or `.`")) }
}

/// A plain relative path that cannot leave the folder. Symbolic links are the loader's to refuse: only it sees the disk.
fn check_path(name: &'static str, value: &str) -> Result<(), ManifestError> {
    let plain = !value.is_empty()
        && !value.contains(['\\', '\0', ':'])
        && value.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if plain { Ok(()) } else { Err(field(name, "must be a relative path inside the model folder")) }
}

fn check_sha256(name: &'static str, value: &str) -> Result<(), ManifestError> {
    let fits = value.len() == 64 && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if fits { Ok(()) } else { Err(field(name, "must be 64 lower-case hexadecimal digits")) }
}

fn check_specs(name: &'static str, specs: &[TensorSpec]) -> Result<(), ManifestError> {
    if specs.is_empty() || specs.len() > 16 {
        return Err(field(name, "must hold 1 to 16 tensors"));
    }
    for (index, spec) in specs.iter().enumerate() {
        if spec.name.is_empty() || spec.name.len() > 256 {
            return Err(field(name, "has a tensor name that is empty or over 256 bytes"));
        }
        if specs[..index].iter().any(|other| other.name == spec.name) {
            return Err(field(name, format!("names `{}` twice", spec.name)));
        }
        if spec.shape.len() > 8 || spec.shape.iter().any(|&dim| dim < -1 || dim > i64::from(u32::MAX)) {
            return Err(field(name, format!("has an impossible shape for `{}`", spec.name)));
        }
    }
    Ok(())
}
