//! A decoder in ONNX Runtime: a graph that takes and gives its key-value cache.
//!
//! The names are those that exporters commonly use: `input_ids`, `attention_mask`, `position_ids` and `past_key_values.N.key` and
//! `.value` in; `logits` and `present.N.key` and `.value` out. Caches stay inside the runtime from one step to the next: nothing
//! is copied here but when rows leave or join. Deliberately absent: caches of other types than FP32, and of fixed size.

use std::path::Path;

use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, DynTensorValueType, Outlet, Tensor, TensorElementType};

use super::onnx_runtime::{load_error, open, run_error};
use super::{Decoder, EngineError, Source, Step};
use crate::sys;

const TOKENS: &str = "input_ids";
const MASK: &str = "attention_mask";
const POSITIONS: &str = "position_ids";
const LOGITS: &str = "logits";
const PAST: &str = "past_key_values.";
const PRESENT: &str = "present.";
const FP32_BYTES: usize = size_of::<f32>();

/// A loaded decoder graph.
#[derive(Debug)]
pub(crate) struct OnnxDecoder {
    session: Session,
    parts: Vec<CachePart>,
    _environment: Environment,
}

/// One of the tensors that make up a cache: of each layer, the keys and the values.
#[derive(Debug)]
struct CachePart {
    past: String,
    present: String,
    heads: usize,
    width: usize,
}

/// A cache: one tensor [rows, heads, columns, width] for each part.
#[derive(Debug)]
pub(crate) struct OnnxCache {
    tensors: Vec<DynTensor>,
    columns: usize,
}

impl OnnxDecoder {
    /// Loads `model` with the runtime in `library`.
    ///
    /// # Errors
    /// [`EngineError::Load`]: as for any model, or a graph that is no decoder; the text names the tensor.
    pub(crate) fn load(model: &Path, library: &Path) -> Result<Self, EngineError> {
        let (environment, session) = open(model, library)?;
        let parts = cache_parts(session.inputs())?;
        for input in session.inputs() {
            let (name, known) = (input.name(), [TOKENS, MASK, POSITIONS]);
            let is_part = parts.iter().any(|part| part.past == name);
            let is_known = known.contains(&name) && element_type(input) == Some(TensorElementType::Int64);
            if !is_part && !is_known {
                return Err(load_error(&format!("decoder input `{name}` cannot be fed")));
            }
        }
        let wanted = std::iter::once(LOGITS).chain(parts.iter().map(|part| part.present.as_str()));
        for name in wanted {
            let output = session.outputs().iter().find(|output| output.name() == name);
            if output.and_then(element_type) != Some(TensorElementType::Float32) {
                return Err(load_error(&format!("the decoder gives no FP32 `{name}`")));
            }
        }
        Ok(Self { session, parts, _environment: environment })
    }

    /// A cache of `rows` rows without a column.
    fn empty(&self, rows: usize) -> Result<OnnxCache, EngineError> {
        let tensors = self.parts.iter().map(|part| part.allocate(rows, 0)).collect::<Result<_, _>>()?;
        Ok(OnnxCache { tensors, columns: 0 })
    }
}

impl Decoder for OnnxDecoder {
    type Cache = OnnxCache;

    fn read(&mut self, step: Step, cache: Option<OnnxCache>) -> Result<(Vec<f32>, OnnxCache), EngineError> {
        let cache = cache.map_or_else(|| self.empty(step.rows), Ok)?;
        let columns = cache.columns + step.width;
        let integers = |name: &'static str, width: usize, data: Vec<i64>| {
            let tensor = Tensor::from_array(([step.rows, width], data)).map_err(|error| run_error(&error))?;
            Ok((name, SessionInputValue::from(tensor)))
        };
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![
            integers(TOKENS, step.width, step.tokens)?,
            integers(MASK, columns, step.mask)?,
            integers(POSITIONS, step.width, step.positions)?,
        ];
        let past = self.parts.iter().zip(cache.tensors);
        inputs.extend(past.map(|(part, tensor)| (part.past.as_str(), tensor.into())));
        let mut outputs = self.session.run(inputs).map_err(|error| run_error(&error))?;
        let logits = match outputs.get(LOGITS).map(|logits| logits.try_extract_tensor::<f32>()) {
            Some(Ok((shape, values))) if shape.first().copied() == i64::try_from(step.rows).ok() => {
                values.to_vec()
            }
            _ => return Err(EngineError::Contract("the decoder gave no logits for each row".into())),
        };
        let tensors = self
            .parts
            .iter()
            .map(|part| {
                let value = outputs.remove(&part.present);
                let tensor = value.and_then(|value| value.downcast::<DynTensorValueType>().ok());
                tensor.filter(|tensor| part.fits(tensor, step.rows, columns)).ok_or_else(|| {
                    let name = &part.present;
                    EngineError::Contract(format!("the decoder's `{name}` does not hold {columns} columns"))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok((logits, OnnxCache { tensors, columns }))
    }

    fn gather(
        &mut self,
        caches: &[OnnxCache],
        rows: &[Source],
        columns: usize,
    ) -> Result<OnnxCache, EngineError> {
        let parts = self.parts.iter().enumerate();
        let tensors = parts
            .map(|(index, part)| {
                let mut target = part.allocate(rows.len(), columns)?;
                let bytes = sys::tensor_bytes_mut(&mut target);
                for (row, source) in rows.iter().enumerate() {
                    let cache = &caches[source.cache];
                    let from = sys::tensor_bytes(&cache.tensors[index]);
                    part.copy(from, cache.columns, source, bytes, columns, row);
                }
                Ok(target)
            })
            .collect::<Result<_, EngineError>>()?;
        Ok(OnnxCache { tensors, columns })
    }
}

impl CachePart {
    /// A tensor of zeros.
    fn allocate(&self, rows: usize, columns: usize) -> Result<DynTensor, EngineError> {
        let shape = [rows, self.heads, columns, self.width];
        DynTensor::new(&Allocator::default(), TensorElementType::Float32, shape)
            .map_err(|error| run_error(&error))
    }

    fn fits(&self, tensor: &DynTensor, rows: usize, columns: usize) -> bool {
        let wanted = [rows, self.heads, columns, self.width].map(i64::try_from);
        tensor.shape().len() == wanted.len()
            && tensor.shape().iter().zip(wanted).all(|(&dim, wanted)| wanted == Ok(dim))
    }

    /// Copies the last columns of a source row to the end of a target row, head by head.
    fn copy(
        &self,
        from: &[u8],
        from_columns: usize,
        source: &Source,
        to: &mut [u8],
        to_columns: usize,
        row: usize,
    ) {
        let column = self.width * FP32_BYTES;
        let len = source.length * column;
        for head in 0..self.heads {
            let from_end = (source.row * self.heads + head + 1) * from_columns * column;
            let to_end = (row * self.heads + head + 1) * to_columns * column;
            to[to_end - len..to_end].copy_from_slice(&from[from_end - len..from_end]);
        }
    }
}

/// The cache's tensors, in the graph's order.
fn cache_parts(inputs: &[Outlet]) -> Result<Vec<CachePart>, EngineError> {
    let parts = inputs.iter().filter_map(|input| Some((input, input.name().strip_prefix(PAST)?)));
    let parts = parts
        .map(|(input, rest)| {
            let past = input.name().to_owned();
            let shape = input.dtype().tensor_shape();
            let dim = |index: usize| shape.and_then(|shape| usize::try_from(*shape.get(index)?).ok());
            match (dim(1), dim(3), element_type(input)) {
                (Some(heads), Some(width), Some(TensorElementType::Float32)) => {
                    Ok(CachePart { present: format!("{PRESENT}{rest}"), past, heads, width })
                }
                _ => Err(load_error(&format!("`{past}` is not FP32 [rows, heads, columns, width]"))),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    if parts.is_empty() {
        return Err(load_error(&format!("a decoder needs inputs `{PAST}N.key` and `{PAST}N.value`")));
    }
    Ok(parts)
}

fn element_type(outlet: &Outlet) -> Option<TensorElementType> {
    outlet.dtype().tensor_type()
}
