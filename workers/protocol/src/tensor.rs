//! A batch's tensor: items one after the other, each row-major.
//!
//! Items of one batch may differ in shape (a ragged batch): then every item names its own. The worker pads; the wire never does.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Datatype, ProtocolError};

/// Shapes of the items of a tensor, without the batch dimension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemShapes {
    /// All items have this shape.
    #[serde(rename = "shape")]
    Same(Vec<u32>),
    /// One shape per item, in order.
    #[serde(rename = "shapes")]
    Each(Vec<Vec<u32>>),
}

impl ItemShapes {
    /// The most compact form of the given shapes.
    #[must_use]
    pub fn from_shapes(shapes: &[&[u32]]) -> Self {
        match shapes.split_first() {
            Some((first, rest)) if rest.iter().all(|shape| shape == first) => Self::Same(first.to_vec()),
            None => Self::Same(Vec::new()),
            Some(_) => Self::Each(shapes.iter().map(|shape| shape.to_vec()).collect()),
        }
    }

    /// Shape of item `index`; `None` past the end of per-item shapes.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u32]> {
        match self {
            Self::Same(shape) => Some(shape),
            Self::Each(shapes) => shapes.get(index).map(Vec::as_slice),
        }
    }
}

/// Elements of a shape; `None` on overflow.
pub(crate) fn element_count(shape: &[u32]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim as usize))
}

/// A decoded tensor of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Name as in the manifest.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Shape of each item, without the batch dimension.
    pub item_shapes: ItemShapes,
    /// Items one after the other, row-major, little-endian; BYTES elements as `u32` length + bytes.
    pub data: Bytes,
}

impl Tensor {
    /// Byte range of each of `items` items in `data`.
    ///
    /// # Errors
    /// When shapes and data do not fit together.
    pub fn item_ranges(&self, items: usize) -> Result<Vec<std::ops::Range<usize>>, ProtocolError> {
        if let ItemShapes::Each(shapes) = &self.item_shapes
            && shapes.len() != items
        {
            return Err(ProtocolError::ItemCount {
                tensor: self.name.clone(),
                expected: items,
                actual: shapes.len(),
            });
        }
        // Each item needs at least a byte of data unless its shape is empty of elements, so `items` is bounded by the caller's ids.
        let mut ranges = Vec::with_capacity(items);
        let mut start = 0_usize;
        for index in 0..items {
            let shape = self.item_shapes.get(index).unwrap_or_default();
            let end = start
                .checked_add(self.item_bytes(shape, start)?)
                .ok_or_else(|| self.corrupt("item sizes overflow"))?;
            ranges.push(start..end);
            start = end;
        }
        if start != self.data.len() {
            return Err(ProtocolError::DataLength {
                tensor: self.name.clone(),
                datatype: self.datatype,
                expected: start,
                actual: self.data.len(),
            });
        }
        Ok(ranges)
    }

    fn item_bytes(&self, shape: &[u32], start: usize) -> Result<usize, ProtocolError> {
        let elements = element_count(shape).ok_or_else(|| self.corrupt("shape product overflows"))?;
        match self.datatype.element_bytes() {
            Some(size) => elements.checked_mul(size).ok_or_else(|| self.corrupt("shape product overflows")),
            None => self.byte_strings_len(elements, start),
        }
    }

    fn byte_strings_len(&self, elements: usize, start: usize) -> Result<usize, ProtocolError> {
        let mut position = start;
        for _ in 0..elements {
            let prefix = self
                .data
                .get(position..)
                .and_then(|rest| rest.first_chunk::<4>())
                .ok_or_else(|| self.corrupt("a length prefix is cut off"))?;
            position = (u32::from_le_bytes(*prefix) as usize)
                .checked_add(position + 4)
                .filter(|&end| end <= self.data.len())
                .ok_or_else(|| self.corrupt("a byte string runs past the end of the data"))?;
        }
        Ok(position - start)
    }

    fn corrupt(&self, reason: &'static str) -> ProtocolError {
        ProtocolError::Corrupt { tensor: self.name.clone(), reason }
    }
}

/// A tensor about to be encoded: the items' bytes where they already lie, so that packing copies them once.
#[derive(Clone, Debug)]
pub struct TensorChunks<'a> {
    /// Name as in the manifest.
    pub name: &'a str,
    /// Element type.
    pub datatype: Datatype,
    /// Shape of each item, without the batch dimension.
    pub item_shapes: ItemShapes,
    /// The data in item order; how it is cut into chunks does not matter.
    pub chunks: Vec<&'a [u8]>,
}

/// A tensor as it stands in the JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireTensor<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    datatype: Datatype,
    #[serde(flatten)]
    item_shapes: ItemShapes,
    #[serde(borrow)]
    data: std::borrow::Cow<'a, str>,
}

impl WireTensor<'_> {
    pub(crate) fn decode(self) -> Result<Tensor, ProtocolError> {
        let mut data = self.data.into_owned().into_bytes();
        let decoded_len = base64_simd::STANDARD
            .decode_inplace(&mut data)
            .map_err(|_| ProtocolError::Base64 { tensor: self.name.clone().into_owned() })?
            .len();
        data.truncate(decoded_len);
        Ok(Tensor {
            name: self.name.into_owned(),
            datatype: self.datatype,
            item_shapes: self.item_shapes,
            data: data.into(),
        })
    }
}

/// Appends `,"key":[tensor,…]` to a JSON object under construction.
pub(crate) fn write_tensors(out: &mut Vec<u8>, key: &str, tensors: &[TensorChunks<'_>]) {
    out.extend_from_slice(format!(",\"{key}\":[").as_bytes());
    for (index, tensor) in tensors.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_tensor(out, tensor);
    }
    out.push(b']');
}

fn write_tensor(out: &mut Vec<u8>, tensor: &TensorChunks<'_>) {
    out.extend_from_slice(b"{\"name\":");
    write_json(out, tensor.name);
    out.extend_from_slice(b",\"datatype\":\"");
    out.extend_from_slice(tensor.datatype.name().as_bytes());
    match &tensor.item_shapes {
        ItemShapes::Same(shape) => {
            out.extend_from_slice(b"\",\"shape\":");
            write_json(out, shape);
        }
        ItemShapes::Each(shapes) => {
            out.extend_from_slice(b"\",\"shapes\":");
            write_json(out, shapes);
        }
    }
    out.extend_from_slice(b",\"data\":\"");
    match tensor.chunks.as_slice() {
        [single] => append_base64(out, single),
        many => append_base64(out, &many.concat()),
    }
    out.extend_from_slice(b"\"}");
}

fn append_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + base64_simd::STANDARD.encoded_length(data.len()), 0);
    let encoded = base64_simd::STANDARD.encode(data, base64_simd::Out::from_slice(&mut out[start..]));
    debug_assert_eq!(encoded.len(), out.len() - start, "base64 length is exact");
}

/// Appends a value whose serialization cannot fail: strings, numbers and lists of them.
pub(crate) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "strings, numbers and lists always serialize into memory");
}
