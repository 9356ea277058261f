//! A worker's answer → per request the pieces of its outputs, after checking the answer against batch and manifest.
//!
//! An answer that does not fit is refused whole: a value in the wrong place is worse than none.

use std::ops::Range;
use std::sync::Arc;

use gateway_contract::{ItemFailure, RequestId};
use gateway_policy::Part;
use smallvec::SmallVec;
use workers_protocol::{Answer, ItemErrorCode, ItemShapes, ModelManifest, Tensor, TensorSpec};

use super::flight::{Inputs, Message, Piece, PieceTensor};
use crate::telemetry::traces::Rider;

/// A part of a batch and where its items stand in it.
#[derive(Clone, Debug)]
pub(super) struct SentPart {
    pub(super) part: Part,
    /// Position of its first item within the batch.
    pub(super) position: u32,
    /// Its request's tensors; `None` if the request is gone: then it was not sent.
    pub(super) inputs: Option<Arc<Inputs>>,
}

impl SentPart {
    pub(super) fn positions(&self) -> Range<u32> {
        self.position..self.position + self.part.items
    }

    /// Itself as its batch's trace sees it.
    pub(super) fn rider(&self) -> Rider<'_> {
        let trace = self.inputs.as_ref().and_then(|inputs| inputs.trace.as_ref());
        Rider { request: self.part.request, items: self.part.items, trace }
    }
}

/// What a batch brought for one of its parts.
#[derive(Debug, PartialEq)]
pub(super) struct PartResult {
    pub(super) request: RequestId,
    pub(super) pieces: SmallVec<[Piece; 1]>,
    pub(super) messages: Vec<Message>,
}

/// An answer taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Scattered {
    pub(super) parts: Vec<PartResult>,
    /// Positions without a value, ascending.
    pub(super) failed: Vec<(u32, ItemFailure)>,
}

/// Takes an answer apart. `answer` has been checked to name exactly the items that were sent.
///
/// # Errors
/// What does not fit the manifest, for logs.
pub(super) fn scatter(
    answer: &Answer,
    parts: &[SentPart],
    manifest: &ModelManifest,
) -> Result<Scattered, String> {
    if !answer.ids.is_empty() {
        check_outputs(&answer.outputs, &manifest.outputs)?;
    }
    let outputs: Vec<Output<'_>> = answer
        .outputs
        .iter()
        .map(|tensor| Output::new(tensor, answer.ids.len()))
        .collect::<Result<_, _>>()?;
    let indices = Indices::new(&answer.ids);
    let mut scattered = Scattered { parts: Vec::with_capacity(parts.len()), failed: Vec::new() };
    for sent in parts {
        let pieces = if sent.inputs.is_some() { pieces(sent, &indices, &outputs) } else { SmallVec::new() };
        scattered.parts.push(PartResult { request: sent.part.request, pieces, messages: Vec::new() });
        if sent.inputs.is_none() {
            scattered
                .failed
                .extend(sent.positions().map(|position| (position, ItemFailure::DeadlineExceeded)));
        }
    }
    for error in &answer.errors {
        let Ok(position) = u32::try_from(error.id) else {
            continue;
        };
        scattered.failed.push((position, failure(error.code)));
        let index = parts.partition_point(|sent| sent.positions().end <= position);
        if let (Some(sent), Some(result)) = (parts.get(index), scattered.parts.get_mut(index)) {
            let item = sent.part.first_item + (position - sent.position);
            result.messages.push((item, error.message.clone()));
        }
    }
    scattered.failed.sort_unstable_by_key(|&(position, _)| position);
    Ok(scattered)
}

fn failure(code: ItemErrorCode) -> ItemFailure {
    match code {
        ItemErrorCode::InvalidInput => ItemFailure::InvalidInput,
        ItemErrorCode::ModelFailed => ItemFailure::ModelFailed,
        ItemErrorCode::ProcessDied => ItemFailure::ProcessDied,
        ItemErrorCode::ProcessHung => ItemFailure::ProcessHung,
        ItemErrorCode::OutOfMemory => ItemFailure::OutOfMemory,
        ItemErrorCode::DeadlineExceeded => ItemFailure::DeadlineExceeded,
    }
}

fn check_outputs(outputs: &[Tensor], specs: &[TensorSpec]) -> Result<(), String> {
    if outputs.len() != specs.len() {
        return Err(format!("{} outputs came, the manifest names {}", outputs.len(), specs.len()));
    }
    for (tensor, spec) in outputs.iter().zip(specs) {
        if tensor.name != spec.name {
            return Err(format!("output `{}` came where the manifest names `{}`", tensor.name, spec.name));
        }
        if tensor.datatype != spec.datatype {
            return Err(format!(
                "output `{}` is {}, the manifest says {}",
                spec.name, tensor.datatype, spec.datatype
            ));
        }
        let fits = |shape: &[u32]| {
            shape.len() == spec.shape.len()
                && shape
                    .iter()
                    .zip(&spec.shape)
                    .all(|(&dim, &wanted)| wanted == -1 || i64::from(dim) == wanted)
        };
        let all_fit = match &tensor.item_shapes {
            ItemShapes::Same(shape) => fits(shape),
            ItemShapes::Each(shapes) => shapes.iter().all(|shape| fits(shape)),
        };
        if !all_fit {
            return Err(format!("output `{}` has a shape that the manifest does not allow", spec.name));
        }
    }
    Ok(())
}

/// Where an item's values stand in the answer.
enum Indices {
    /// Item `n` of the batch is item `n` of the outputs.
    Identity(u32),
    /// By position; ascending.
    Sorted(Vec<(u64, u32)>),
}

impl Indices {
    fn new(ids: &[u64]) -> Self {
        if ids.iter().zip(0_u64..).all(|(&id, index)| id == index) {
            return Self::Identity(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        }
        let mut sorted: Vec<(u64, u32)> = ids.iter().copied().zip(0_u32..).collect();
        sorted.sort_unstable();
        Self::Sorted(sorted)
    }

    fn get(&self, position: u32) -> Option<u32> {
        match self {
            Self::Identity(items) => (position < *items).then_some(position),
            Self::Sorted(sorted) => {
                let at = sorted.binary_search_by_key(&u64::from(position), |&(id, _)| id).ok()?;
                Some(sorted[at].1)
            }
        }
    }
}

/// An output tensor with the places of its items.
struct Output<'a> {
    tensor: &'a Tensor,
    places: Places,
}

enum Places {
    /// All items have this many bytes.
    Uniform(usize),
    Each(Vec<Range<usize>>),
}

impl<'a> Output<'a> {
    fn new(tensor: &'a Tensor, items: usize) -> Result<Self, String> {
        let uniform =
            matches!(tensor.item_shapes, ItemShapes::Same(_)) && tensor.datatype.element_bytes().is_some();
        let places = if uniform && items > 0 {
            Places::Uniform(tensor.data.len() / items) // the codec has checked that it divides
        } else {
            Places::Each(tensor.item_ranges(items).map_err(|error| error.to_string())?)
        };
        Ok(Self { tensor, places })
    }

    fn shape(&self, index: u32) -> &[u32] {
        self.tensor.item_shapes.get(index as usize).unwrap_or_default()
    }

    /// The data of a run of items, as a slice of the answer.
    fn slice(&self, first: u32, items: u32) -> PieceTensor {
        let (first, last) = (first as usize, (first + items - 1) as usize);
        let range = match &self.places {
            Places::Uniform(size) => first * size..(last + 1) * size,
            Places::Each(ranges) => ranges[first].start..ranges[last].end,
        };
        PieceTensor {
            datatype: self.tensor.datatype,
            item_shape: self.tensor.item_shapes.get(first).unwrap_or_default().into(),
            data: self.tensor.data.slice(range),
        }
    }
}

/// Cuts a part into runs that are consecutive in the answer and of one shape.
fn pieces(sent: &SentPart, indices: &Indices, outputs: &[Output<'_>]) -> SmallVec<[Piece; 1]> {
    let mut runs: SmallVec<[(u32, u32, u32); 1]> = SmallVec::new(); // first item of the request, index in the answer, items
    for offset in 0..sent.part.items {
        let Some(index) = indices.get(sent.position + offset) else {
            continue;
        };
        let item = sent.part.first_item + offset;
        match runs.last_mut() {
            Some((first_item, first_index, items))
                if *first_item + *items == item
                    && *first_index + *items == index
                    && outputs.iter().all(|output| output.shape(*first_index) == output.shape(index)) =>
            {
                *items += 1;
            }
            _ => runs.push((item, index, 1)),
        }
    }
    runs.into_iter()
        .map(|(first_item, index, items)| Piece {
            first_item,
            items,
            tensors: outputs.iter().map(|output| output.slice(index, items)).collect(),
        })
        .collect()
}
