//! The engine trait: what runs a model, and all that the rest of the worker knows about it.
//!
//! A new engine is one file here, a variant of [`workers_protocol::Engine`] in the manifest, a line in [`load`], and a line in
//! `tests/engine_conformance.rs`. Deliberately absent: batching, padding and tokenizing, which are the same for every engine
//! and happen before it is called.

mod decoder;
mod identity;
mod onnx_decoder;
mod onnx_file;
mod onnx_runtime;

use std::path::PathBuf;

use workers_protocol::{Datatype, ModelManifest};

pub(crate) use decoder::{Decoder, Source, Step};
pub use identity::{FAULT_DIE, FAULT_FAIL, FAULT_GROW, FAULT_HANG, FAULT_SLOW, Identity};
pub(crate) use onnx_decoder::OnnxDecoder;
pub use onnx_runtime::{OnnxRuntime, session as onnx_session};

/// A tensor of one run: all rows together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineTensor {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Shape; the first dimension counts rows.
    pub shape: Vec<usize>,
    /// Row-major, little-endian; BYTES elements as `u32` length + bytes.
    pub data: Vec<u8>,
}

/// A tensor that the model takes or gives, as the model itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: Datatype,
}

/// Why a run or a load failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model failed on these rows; fewer rows may go well.
    #[error("{0}")]
    Run(String),
    /// The model does not keep to what its folder says; other rows would fail the same way.
    #[error("{0}")]
    Contract(String),
    /// The model cannot be loaded.
    #[error("{0}")]
    Load(String),
}

/// Something that runs a model in this process, with one thread.
pub trait Engine {
    /// What the model takes. Inputs of [`Engine::run`] must be these, by name and element type.
    fn inputs(&self) -> &[Port];

    /// What the model gives.
    fn outputs(&self) -> &[Port];

    /// Runs the model over `rows` rows. Every input's first dimension is `rows`, and so must every output's be.
    ///
    /// # Errors
    /// [`EngineError::Run`] if the model failed on these rows, [`EngineError::Contract`] if what came out is not one entry per row.
    fn run(&mut self, rows: usize, inputs: Vec<EngineTensor>) -> Result<Vec<EngineTensor>, EngineError>;
}

/// Where an engine finds what it needs.
#[derive(Clone, Debug)]
pub struct EngineFiles {
    /// The model file, already checked; absent for engines that need none.
    pub model: Option<PathBuf>,
    /// The ONNX Runtime library.
    pub onnx_runtime: PathBuf,
    /// Whether the identity engine obeys fault words in its input (for tests of the process pool).
    pub identity_faults: bool,
}

/// Loads the engine that the manifest names.
///
/// # Errors
/// [`EngineError::Load`], with the reason.
pub fn load(manifest: &ModelManifest, files: &EngineFiles) -> Result<Box<dyn Engine>, EngineError> {
    match manifest.engine {
        workers_protocol::Engine::Identity => Ok(Box::new(Identity::new(manifest, files.identity_faults))),
        workers_protocol::Engine::OnnxRuntime => {
            let model = files
                .model
                .as_deref()
                .ok_or_else(|| EngineError::Load("the manifest names no model file".into()))?;
            Ok(Box::new(OnnxRuntime::load(model, &files.onnx_runtime)?))
        }
    }
}

/// Checks that an output holds one entry per row.
pub(crate) fn check_rows(name: &str, shape: &[usize], rows: usize) -> Result<(), EngineError> {
    if shape.first() == Some(&rows) {
        return Ok(());
    }
    Err(EngineError::Contract(format!(
        "output `{name}` has shape {shape:?} for {rows} rows: its first dimension must count the rows"
    )))
}
