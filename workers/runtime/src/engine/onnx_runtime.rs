//! ONNX Runtime behind the engine trait, through its shared library.
//!
//! One intra-op and one inter-op thread and no spinning: the worker scales by processes, and a spinning thread would burn the
//! CPU share of the others. Tensors are passed as raw bytes, so every element type takes the same path; only strings differ.
//! Deliberately absent: execution providers other than the CPU's, sequence and map outputs, and external data (refused at load).

use std::path::Path;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::Allocator;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, DynTensorValueType, DynValue, Outlet, Tensor, TensorElementType, ValueRef};
use workers_protocol::Datatype;

use super::{Engine, EngineError, EngineTensor, Port, check_rows, onnx_file};
use crate::sys;

/// A loaded ONNX model.
#[derive(Debug)]
pub struct OnnxRuntime {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    _environment: Environment,
}

impl OnnxRuntime {
    /// Loads `model` with the runtime in `library`.
    ///
    /// # Errors
    /// [`EngineError::Load`]: no such library or one too old, external data, an unreadable graph, or a tensor type that the
    /// protocol does not have.
    pub fn load(model: &Path, library: &Path) -> Result<Self, EngineError> {
        let (environment, session) = open(model, library)?;
        let (inputs, outputs) = (ports(session.inputs())?, ports(session.outputs())?);
        Ok(Self { session, inputs, outputs, _environment: environment })
    }
}

/// A checked model file in a new session. The environment must live as long as the session.
pub(super) fn open(model: &Path, library: &Path) -> Result<(Environment, Session), EngineError> {
    onnx_file::refuse_external_data(model).map_err(|error| load_error(&error))?;
    let environment = ort::init_from(library)
        .map_err(|error| EngineError::Load(format!("ONNX Runtime library `{}`: {error}", library.display())))?
        .with_telemetry(false)
        .build()
        .map_err(|error| load_error(&error))?;
    environment.set_log_level(LogLevel::Error);
    let session = session(&environment, model)?;
    Ok((environment, session))
}

/// The session with the worker's options; also what a bare loop for comparison should use.
///
/// # Errors
/// [`EngineError::Load`] with the runtime's reason.
pub fn session(environment: &Environment, model: &Path) -> Result<Session, EngineError> {
    Session::builder(environment)
        .map_err(|error| load_error(&error))?
        .with_intra_threads(1)
        .map_err(|error| load_error(&error))?
        .with_inter_threads(1)
        .map_err(|error| load_error(&error))?
        .with_intra_op_spinning(false)
        .map_err(|error| load_error(&error))?
        .with_inter_op_spinning(false)
        .map_err(|error| load_error(&error))?
        .with_optimization_level(GraphOptimizationLevel::Level3)
        .map_err(|error| load_error(&error))?
        .commit_from_file(model)
        .map_err(|error| load_error(&error))
}

impl Engine for OnnxRuntime {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, rows: usize, inputs: Vec<EngineTensor>) -> Result<Vec<EngineTensor>, EngineError> {
        let values = inputs
            .into_iter()
            .map(|input| Ok((input.name.clone(), SessionInputValue::from(to_value(input)?))))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let outputs = self.session.run(values).map_err(|error| run_error(&error))?;
        outputs.iter().map(|(name, value)| from_value(name, value, rows)).collect()
    }
}

fn to_value(input: EngineTensor) -> Result<DynValue, EngineError> {
    if input.datatype == Datatype::Bytes {
        let strings = strings(&input.data).ok_or_else(|| {
            EngineError::Run(format!("input `{}` holds bytes that are not UTF-8", input.name))
        })?;
        let tensor = Tensor::from_string_array((input.shape, strings.as_slice()))
            .map_err(|error| run_error(&error))?;
        return Ok(tensor.into_dyn());
    }
    let mut tensor = DynTensor::new(&Allocator::default(), element_type(input.datatype), input.shape)
        .map_err(|error| run_error(&error))?;
    let bytes = sys::tensor_bytes_mut(&mut tensor);
    if bytes.len() != input.data.len() {
        return Err(EngineError::Run(format!("input `{}` does not fill its shape", input.name)));
    }
    bytes.copy_from_slice(&input.data);
    Ok(tensor.into_dyn())
}

fn from_value(name: &str, value: ValueRef<'_>, rows: usize) -> Result<EngineTensor, EngineError> {
    let tensor = value
        .downcast::<DynTensorValueType>()
        .map_err(|_| EngineError::Contract(format!("output `{name}` is no tensor")))?;
    let shape = tensor.shape().iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect::<Vec<_>>();
    check_rows(name, &shape, rows)?;
    let datatype = datatype(*tensor.data_type()).ok_or_else(|| {
        EngineError::Contract(format!("output `{name}` has a type that the protocol lacks"))
    })?;
    let data = if datatype == Datatype::Bytes {
        let (_, strings) = tensor.try_extract_strings().map_err(|error| run_error(&error))?;
        strings.iter().flat_map(|text| length_prefix(text.len()).into_iter().chain(text.bytes())).collect()
    } else {
        sys::tensor_bytes(&tensor).to_vec()
    };
    Ok(EngineTensor { name: name.to_owned(), datatype, shape, data })
}

fn length_prefix(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

/// The elements of a BYTES tensor as text; `None` if one is not UTF-8 or a length is wrong.
fn strings(mut data: &[u8]) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    while !data.is_empty() {
        let (prefix, rest) = data.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*prefix) as usize)?;
        strings.push(std::str::from_utf8(text).ok()?.to_owned());
        data = rest;
    }
    Some(strings)
}

fn ports(outlets: &[Outlet]) -> Result<Vec<Port>, EngineError> {
    outlets
        .iter()
        .map(|outlet| {
            let datatype = outlet.dtype().tensor_type().and_then(datatype).ok_or_else(|| {
                EngineError::Load(format!(
                    "`{}` is {}, which the protocol lacks",
                    outlet.name(),
                    outlet.dtype()
                ))
            })?;
            Ok(Port { name: outlet.name().to_owned(), datatype })
        })
        .collect()
}

fn element_type(datatype: Datatype) -> TensorElementType {
    match datatype {
        Datatype::Bool => TensorElementType::Bool,
        Datatype::Uint8 => TensorElementType::Uint8,
        Datatype::Uint16 => TensorElementType::Uint16,
        Datatype::Uint32 => TensorElementType::Uint32,
        Datatype::Uint64 => TensorElementType::Uint64,
        Datatype::Int8 => TensorElementType::Int8,
        Datatype::Int16 => TensorElementType::Int16,
        Datatype::Int32 => TensorElementType::Int32,
        Datatype::Int64 => TensorElementType::Int64,
        Datatype::Fp16 => TensorElementType::Float16,
        Datatype::Fp32 => TensorElementType::Float32,
        Datatype::Fp64 => TensorElementType::Float64,
        Datatype::Bf16 => TensorElementType::Bfloat16,
        Datatype::Bytes => TensorElementType::String,
    }
}

fn datatype(element: TensorElementType) -> Option<Datatype> {
    Datatype::ALL.into_iter().find(|datatype| element_type(*datatype) == element)
}

pub(super) fn load_error(error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Load(error.to_string())
}

pub(super) fn run_error(error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Run(error.to_string())
}
