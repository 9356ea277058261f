//! Fits a read request to its model: after this nothing in it can fail for its form, and only then it may wait with others.

use std::time::Duration;

use bytes::Bytes;
use gateway_contract::ModelId;
use smallvec::SmallVec;
use workers_protocol::{Datatype, ModelManifest, TensorSpec};

use super::framing::Framing;
use super::request::{InferRequest, RequestInput, RequestedOutput, Source};
use super::tail;
use crate::http::HttpConfig;
use crate::http::errors::{ApiError, Code};
use crate::inference::{InputTensor, ItemShape, Submission};

/// A request that fits, and how its answer is wanted.
#[derive(Debug)]
pub(in crate::http) struct Accepted {
    pub(in crate::http) submission: Submission,
    pub(in crate::http) answer: AnswerForm,
}

/// How an answer is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct AnswerForm {
    pub(in crate::http) id: Option<String>,
    pub(in crate::http) outputs: SmallVec<[WantedOutput; 2]>,
    pub(in crate::http) receipt: bool,
}

/// One output of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct WantedOutput {
    /// Position in the manifest.
    pub(in crate::http) index: usize,
    pub(in crate::http) binary: bool,
}

/// Fits a JSON request with what follows it.
pub(in crate::http) fn fit(
    request: InferRequest<'_>,
    tail: &Bytes,
    framing: &Framing,
    id: ModelId,
    manifest: &ModelManifest,
    config: &HttpConfig,
) -> Result<Accepted, ApiError> {
    let outputs = wanted_outputs(&request.outputs, request.parameters.binary_data_output, manifest)?;
    let (inputs, items) = fit_inputs(request.inputs, tail, manifest, config)?;
    let timeout_us = request.parameters.timeout_us.filter(|&micros| micros > 0);
    let timeouts = [timeout_us.map(Duration::from_micros), framing.timeout];
    let priority = match request.parameters.priority {
        None | Some(0) => config.default_priority,
        Some(level) => u8::try_from(level - 1).unwrap_or(u8::MAX),
    };
    Ok(Accepted {
        submission: Submission {
            model: id,
            items,
            inputs,
            priority,
            timeout: timeouts.into_iter().flatten().min().map(|timeout| timeout.min(config.max_timeout)),
            trace: None,
        },
        answer: AnswerForm {
            id: request.id.map(std::borrow::Cow::into_owned),
            outputs,
            receipt: request.parameters.penstock_receipt || framing.receipt,
        },
    })
}

/// Fits a raw binary request: the body is the only input's data, and the shape follows from its size.
pub(super) fn fit_raw(
    body: Bytes,
    framing: &Framing,
    id: ModelId,
    manifest: &ModelManifest,
    config: &HttpConfig,
) -> Result<Accepted, ApiError> {
    let refuse = |text: String| ApiError::new(Code::InvalidRequest, format!("a raw binary request {text}"));
    let [spec] = manifest.inputs.as_slice() else {
        return Err(refuse(format!(
            "needs a model with one input, `{}` has {}",
            manifest.name,
            manifest.inputs.len()
        )));
    };
    let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let fixed: u64 = spec.shape.iter().filter_map(|&dim| u64::try_from(dim).ok()).product();
    let variable = spec.shape.iter().filter(|&&dim| dim < 0).count();
    let (data, items, length) = match spec.datatype.element_bytes() {
        None if fixed == 1 => {
            let mut prefixed = u32::try_from(body.len())
                .map_err(|_| refuse("is too long".to_owned()))?
                .to_le_bytes()
                .to_vec();
            prefixed.extend_from_slice(&body);
            (Bytes::from(prefixed), 1, 1)
        }
        None => {
            return Err(refuse(format!("is one byte string, input `{}` has {fixed} an item", spec.name)));
        }
        Some(size) => {
            let unit = fixed.saturating_mul(u64::try_from(size).unwrap_or(u64::MAX));
            if unit == 0 || bytes == 0 || !bytes.is_multiple_of(unit) {
                return Err(refuse(format!(
                    "has {bytes} bytes, input `{}` needs a multiple of {unit}",
                    spec.name
                )));
            }
            match variable {
                0 => (body, bytes / unit, 1),
                1 => (body, 1, bytes / unit),
                _ => {
                    return Err(refuse(format!(
                        "needs one variable dimension at most, input `{}` has more",
                        spec.name
                    )));
                }
            }
        }
    };
    let mut shape = vec![items];
    shape.extend(spec.shape.iter().map(|&dim| u64::try_from(dim).unwrap_or(length)));
    let input = RequestInput {
        name: spec.name.as_str().into(),
        datatype: spec.datatype,
        elements: shape.iter().product(),
        shape: shape.into(),
        source: Source::Binary(u64::try_from(data.len()).unwrap_or(u64::MAX)),
    };
    let mut request = InferRequest { inputs: SmallVec::from([input]), ..InferRequest::default() };
    request.parameters.binary_data_output = true;
    fit(request, &data, framing, id, manifest, config)
}

fn wanted_outputs(
    requested: &[RequestedOutput<'_>],
    binary_by_default: bool,
    manifest: &ModelManifest,
) -> Result<SmallVec<[WantedOutput; 2]>, ApiError> {
    let mut wanted = SmallVec::<[WantedOutput; 2]>::new();
    for (position, output) in requested.iter().enumerate() {
        let refuse =
            |text: String| ApiError::new(Code::InvalidRequest, format!("`outputs[{position}].name` {text}"));
        let index = manifest.outputs.iter().position(|spec| spec.name == output.name).ok_or_else(|| {
            refuse(format!(
                "`{}` is no output of the model; it has {}",
                clip(&output.name),
                names(&manifest.outputs)
            ))
        })?;
        if wanted.iter().any(|before| before.index == index) {
            return Err(refuse(format!("`{}` appears twice", clip(&output.name))));
        }
        wanted.push(WantedOutput { index, binary: output.binary.unwrap_or(binary_by_default) });
    }
    if requested.is_empty() {
        wanted.extend(
            (0..manifest.outputs.len()).map(|index| WantedOutput { index, binary: binary_by_default }),
        );
    }
    for output in &wanted {
        let spec = &manifest.outputs[output.index];
        if !output.binary && matches!(spec.datatype, Datatype::Fp16 | Datatype::Bf16) {
            let text = format!(
                "output `{}` is {}, which has no JSON form; ask for binary data",
                spec.name, spec.datatype
            );
            return Err(ApiError::new(Code::UnrepresentableOutput, text));
        }
    }
    Ok(wanted)
}

/// The tensors in the manifest's order, and how many items they hold.
fn fit_inputs(
    inputs: SmallVec<[RequestInput<'_>; 1]>,
    tail: &Bytes,
    manifest: &ModelManifest,
    config: &HttpConfig,
) -> Result<(Vec<InputTensor>, u32), ApiError> {
    let mut slots: SmallVec<[Option<InputTensor>; 2]> = SmallVec::from_elem(None, manifest.inputs.len());
    let mut used = 0_usize;
    let mut items = None;
    for (position, input) in inputs.into_iter().enumerate() {
        let refuse = |code, text: String| ApiError::new(code, format!("`inputs[{position}]{text}"));
        let found = manifest.inputs.iter().position(|spec| spec.name == input.name).ok_or_else(|| {
            let known = names(&manifest.inputs);
            refuse(
                Code::InvalidRequest,
                format!(".name` `{}` is no input of the model; it has {known}", clip(&input.name)),
            )
        })?;
        let spec = &manifest.inputs[found];
        if slots[found].is_some() {
            return Err(refuse(Code::InvalidRequest, format!(".name` `{}` appears twice", spec.name)));
        }
        let count = fit_shape(&input, spec, config).map_err(|(code, text)| refuse(code, text))?;
        if let Some(before) = items
            && before != count
        {
            let text = format!(".shape` has {count} items, the inputs before it have {before}");
            return Err(refuse(Code::InvalidTensor, text));
        }
        items = Some(count);
        let data = match input.source {
            Source::Json(data) => data.into(),
            Source::Binary(size) => take(tail, &mut used, size).ok_or_else(|| {
                let left = tail.len() - used;
                let text = format!(
                    ".parameters.binary_data_size` is {size}, only {left} bytes are left in the body"
                );
                refuse(Code::InvalidRequest, text)
            })?,
        };
        let item_ends = tail::check(&data, input.datatype, count, input.elements)
            .map_err(|bad| refuse(Code::InvalidTensor, format!("` `{}` {bad}", spec.name)))?;
        let item_shape =
            input.shape[1..].iter().filter_map(|&dim| u32::try_from(dim).ok()).collect::<ItemShape>();
        slots[found] = Some(InputTensor { item_shape, data, item_ends });
    }
    if used < tail.len() {
        let extra = tail.len() - used;
        let text = format!("the body has {extra} bytes more than its inputs' `binary_data_size`");
        return Err(ApiError::new(Code::InvalidRequest, text));
    }
    let mut tensors = Vec::with_capacity(slots.len());
    for (slot, spec) in slots.into_iter().zip(&manifest.inputs) {
        let missing = || ApiError::new(Code::InvalidRequest, format!("`inputs` lacks `{}`", spec.name));
        tensors.push(slot.ok_or_else(missing)?);
    }
    Ok((tensors, items.unwrap_or_default()))
}

/// The number of items of an input whose shape and datatype are the model's.
fn fit_shape(
    input: &RequestInput<'_>,
    spec: &TensorSpec,
    config: &HttpConfig,
) -> Result<u32, (Code, String)> {
    if input.datatype != spec.datatype {
        let text = format!(
            ".datatype` is {}, the model takes {} for `{}`",
            input.datatype, spec.datatype, spec.name
        );
        return Err((Code::InvalidTensor, text));
    }
    let fits = |(&dim, &wanted): (&u64, &i64)| {
        u32::try_from(dim).is_ok() && u64::try_from(wanted).map_or(true, |wanted| wanted == dim)
    };
    let first = match input.shape.split_first() {
        Some((&first, item)) if item.len() == spec.shape.len() && item.iter().zip(&spec.shape).all(fits) => {
            first
        }
        _ => {
            let wanted: Vec<String> = spec.shape.iter().map(i64::to_string).collect();
            let wanted = [vec!["items".to_owned()], wanted].concat().join(", ");
            let text = format!(
                ".shape` is {:?}, the model takes [{wanted}] for `{}`",
                input.shape.as_slice(),
                spec.name
            );
            return Err((Code::InvalidTensor, text));
        }
    };
    if first == 0 {
        return Err((Code::InvalidTensor, ".shape` has no items: its first dimension is 0".to_owned()));
    }
    match u32::try_from(first) {
        Ok(items) if items <= config.max_items => Ok(items),
        _ => Err((
            Code::TooLarge,
            format!(".shape` has {first} items, more than the {} that are allowed", config.max_items),
        )),
    }
}

/// The next `size` bytes of the tail.
fn take(tail: &Bytes, used: &mut usize, size: u64) -> Option<Bytes> {
    let end = used.checked_add(usize::try_from(size).ok()?).filter(|&end| end <= tail.len())?;
    let data = tail.slice(*used..end);
    *used = end;
    Some(data)
}

fn names(specs: &[TensorSpec]) -> String {
    specs.iter().map(|spec| format!("`{}`", spec.name)).collect::<Vec<_>>().join(", ")
}

/// A client's text, short enough to be given back.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
