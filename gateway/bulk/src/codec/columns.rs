//! Plain lines: members of an object (or columns of a table) become the model's inputs, and the answer is one member per output.
//!
//! `{"id": "a", "text": "good"}` with `text` mapped to the model's BYTES input gives `{"id":"a","label":[0.1,0.9]}`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use workers_protocol::{Datatype, ModelManifest, TensorSpec};

use super::json::{push_elements, push_string};
use super::{AnsweredLine, DecodedLine, LineCodec, LineFault, LineTensor};
use crate::BulkError;

/// One item a line, from plain members.
#[derive(Clone, Debug)]
pub struct ColumnCodec {
    manifest: Arc<ModelManifest>,
    id_field: String,
    /// Per input of the manifest, the members that it is made of.
    sources: Vec<Vec<String>>,
}

impl ColumnCodec {
    /// A codec for this model. `columns`: model input → members. A model with one input may be given by the key `""`.
    ///
    /// # Errors
    /// [`BulkError::Usage`]: an input without columns, columns of no input.
    pub fn new(
        manifest: Arc<ModelManifest>,
        id_field: &str,
        columns: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, BulkError> {
        let usage = |reason: String| Err(BulkError::Usage { reason });
        let names =
            || manifest.inputs.iter().map(|spec| format!("`{}`", spec.name)).collect::<Vec<_>>().join(", ");
        let is_only = manifest.inputs.len() == 1;
        let known =
            |key: &str| (key.is_empty() && is_only) || manifest.inputs.iter().any(|spec| spec.name == key);
        if let Some(key) = columns.keys().find(|key| !known(key)) {
            return usage(format!("`{key}` is no input of `{}`; it has {}", manifest.name, names()));
        }
        let mut sources = Vec::with_capacity(manifest.inputs.len());
        for spec in &manifest.inputs {
            let given = columns.get(&spec.name).or_else(|| columns.get("").filter(|_| is_only));
            match given {
                Some(members) if !members.is_empty() => sources.push(members.clone()),
                _ => {
                    return usage(format!(
                        "no column is mapped to input `{}` of `{}`",
                        spec.name, manifest.name
                    ));
                }
            }
        }
        Ok(Self { manifest, id_field: id_field.to_owned(), sources })
    }

    fn tensor(&self, spec: &TensorSpec, members: &[String], line: &Value) -> Result<LineTensor, LineFault> {
        let mut shape = Vec::new();
        let mut data = Vec::new();
        let mut elements = 0_u32;
        for member in members {
            let value = line.get(member).filter(|value| !value.is_null());
            let value = value.ok_or_else(|| LineFault::invalid(format!("`{member}` is missing")))?;
            let fault = |reason: String| LineFault::invalid(format!("`{member}` {reason}"));
            let value = number_in_text(spec.datatype, value);
            let member_shape = shape_of(&value, spec.datatype).map_err(fault)?;
            elements += push_value(&mut data, spec.datatype, &value).map_err(fault)?;
            shape = member_shape;
        }
        if members.len() > 1 {
            shape = vec![elements]; // several columns stand side by side in one dimension
        }
        let fits = |shape: &[u32]| {
            shape.len() == spec.shape.len()
                && shape.iter().zip(&spec.shape).all(|(&dim, &wanted)| wanted < 0 || i64::from(dim) == wanted)
        };
        if !fits(&shape) {
            // A lone value for an input of one element in any number of dimensions, or a flat list for a nested shape.
            let wanted: Option<Vec<u32>> = spec.shape.iter().map(|&dim| u32::try_from(dim).ok()).collect();
            shape = match wanted {
                Some(wanted) if wanted.iter().product::<u32>() == elements && shape.len() <= 1 => wanted,
                _ if shape.is_empty() && spec.shape.len() == 1 && fits(&[1]) => vec![1],
                _ => {
                    let text = format!("has shape {shape:?}, input `{}` takes {:?}", spec.name, spec.shape);
                    return Err(LineFault::invalid(format!("`{}` {text}", members.join(","))));
                }
            };
        }
        Ok(LineTensor { item_shape: shape, data: Bytes::from(data), item_ends: None })
    }
}

impl LineCodec for ColumnCodec {
    fn decode(&self, _number: u64, line: &[u8]) -> Result<DecodedLine, LineFault> {
        let value: Value = serde_json::from_slice(line)
            .map_err(|error| LineFault::invalid(format!("malformed JSON: {error}")))?;
        if !value.is_object() {
            return Err(LineFault::invalid("is no JSON object"));
        }
        let specs = self.manifest.inputs.iter().zip(&self.sources);
        let inputs =
            specs.map(|(spec, members)| self.tensor(spec, members, &value)).collect::<Result<_, _>>()?;
        Ok(DecodedLine { id: id_text(value.get(&self.id_field)), items: 1, inputs, form: Bytes::new() })
    }

    fn encode(&self, answered: &AnsweredLine<'_>, out: &mut Vec<u8>) -> Result<(), LineFault> {
        out.extend_from_slice(b"{\"id\":");
        push_string(out, answered.id);
        for (spec, tensor) in self.manifest.outputs.iter().zip(answered.outputs) {
            out.push(b',');
            push_string(out, &spec.name);
            out.push(b':');
            push_elements(out, tensor.datatype, &tensor.item_shape, &tensor.data).map_err(|unfit| {
                LineFault {
                    code: "unrepresentable_output",
                    message: format!("output `{}` {unfit}", spec.name),
                }
            })?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// An id as text: strings as they are, numbers as written.
pub(crate) fn id_text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// CSV has only text: a number (or a JSON array of numbers) in it is read for a numeric input.
fn number_in_text(datatype: Datatype, value: &Value) -> Cow<'_, Value> {
    if let Value::String(text) = value
        && datatype != Datatype::Bytes
        && let Ok(parsed) = serde_json::from_str(text.trim())
    {
        return Cow::Owned(parsed);
    }
    Cow::Borrowed(value)
}

fn shape_of(value: &Value, datatype: Datatype) -> Result<Vec<u32>, String> {
    let mut shape = Vec::new();
    let mut at = value;
    while let Value::Array(entries) = at {
        shape.push(u32::try_from(entries.len()).map_err(|_| "is too long".to_owned())?);
        match entries.first() {
            Some(first) => at = first,
            None => break,
        }
    }
    if shape.len() > 8 {
        return Err(format!("is nested too deeply for {datatype}"));
    }
    // All parts of a level must be alike.
    if is_even(value, &shape) { Ok(shape) } else { Err("is ragged".to_owned()) }
}

fn is_even(value: &Value, shape: &[u32]) -> bool {
    match (value, shape.split_first()) {
        (Value::Array(entries), Some((&length, inner))) => {
            entries.len() == length as usize && entries.iter().all(|entry| is_even(entry, inner))
        }
        (Value::Array(_), None) | (_, Some(_)) => false,
        (_, None) => true,
    }
}

/// Writes a value's elements; gives their number.
fn push_value(out: &mut Vec<u8>, datatype: Datatype, value: &Value) -> Result<u32, String> {
    match value {
        Value::Array(entries) => {
            let mut elements = 0;
            for entry in entries {
                elements += push_value(out, datatype, entry)?;
            }
            Ok(elements)
        }
        Value::String(text) if datatype == Datatype::Bytes => {
            let length = u32::try_from(text.len()).map_err(|_| "is too long".to_owned())?;
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
            Ok(1)
        }
        Value::Number(number) => push_number(out, datatype, number).map(|()| 1),
        Value::Bool(flag) if datatype == Datatype::Bool => {
            out.push(u8::from(*flag));
            Ok(1)
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_) => {
            Err(format!("is not what {datatype} needs"))
        }
    }
}

fn push_number(out: &mut Vec<u8>, datatype: Datatype, number: &serde_json::Number) -> Result<(), String> {
    let misfit = || format!("holds {number}, which is out of range for {datatype}");
    macro_rules! integer {
        ($type:ty) => {{
            let value = number.as_i64().and_then(|value| <$type>::try_from(value).ok());
            let value = value.or_else(|| number.as_u64().and_then(|value| <$type>::try_from(value).ok()));
            out.extend_from_slice(&value.ok_or_else(misfit)?.to_le_bytes());
        }};
    }
    match datatype {
        Datatype::Uint8 => integer!(u8),
        Datatype::Uint16 => integer!(u16),
        Datatype::Uint32 => integer!(u32),
        Datatype::Uint64 => integer!(u64),
        Datatype::Int8 => integer!(i8),
        Datatype::Int16 => integer!(i16),
        Datatype::Int32 => integer!(i32),
        Datatype::Int64 => integer!(i64),
        Datatype::Fp32 => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounding to single precision is what is asked for"
            )]
            let value = number.as_f64().ok_or_else(misfit)? as f32;
            if !value.is_finite() {
                return Err(misfit());
            }
            out.extend_from_slice(&value.to_le_bytes());
        }
        Datatype::Fp64 => out.extend_from_slice(&number.as_f64().ok_or_else(misfit)?.to_le_bytes()),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bool | Datatype::Bytes => {
            return Err(format!("is a number, which {datatype} does not take"));
        }
    }
    Ok(())
}
