//! The seam between lines and tensors: whoever knows what a line means implements [`LineCodec`].
//!
//! [`ColumnCodec`] is for plain data sets. Whole Open Inference requests and OpenAI's lines are read by codecs outside of this crate.

mod columns;
mod json;

use bytes::Bytes;

pub use self::columns::ColumnCodec;
pub(crate) use self::columns::id_text;
pub use self::json::{Unfit, push_elements, push_string};

/// Reads lines and writes answers. Must be deterministic: a line may be decoded again after a restart.
pub trait LineCodec: Send + Sync + 'static {
    /// Reads one line: a JSON object without its line feed (rows of CSV and Parquet come as objects of the columns that are asked for).
    ///
    /// # Errors
    /// What the error file shall say; the line is not retried.
    fn decode(&self, number: u64, line: &[u8]) -> Result<DecodedLine, LineFault>;

    /// Writes the answer of a line as one JSON object without a line feed, appended to `out`. On an error `out` is cut back by the caller.
    ///
    /// # Errors
    /// What the error file shall say.
    fn encode(&self, answered: &AnsweredLine<'_>, out: &mut Vec<u8>) -> Result<(), LineFault>;

    /// Writes a line of the error file, as one JSON object without a line feed.
    fn encode_fault(&self, number: u64, id: &str, fault: &LineFault, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"line\":");
        out.extend_from_slice(number.to_string().as_bytes());
        out.extend_from_slice(b",\"id\":");
        push_string(out, id);
        out.extend_from_slice(b",\"code\":");
        push_string(out, fault.code);
        out.extend_from_slice(b",\"message\":");
        push_string(out, &fault.message);
        out.push(b'}');
    }
}

/// A line that fits its model.
#[derive(Clone, Debug, Default)]
pub struct DecodedLine {
    /// The line's id, if it names one.
    pub id: Option<String>,
    /// Items, at least 1.
    pub items: u32,
    /// One tensor per input of the manifest, in the manifest's order.
    pub inputs: Vec<LineTensor>,
    /// What [`LineCodec::encode`] needs to know of the request, in the codec's own form; empty if nothing.
    pub form: Bytes,
}

/// A tensor of one line: all its items, row-major, little-endian; BYTES elements as `u32` length + bytes.
#[derive(Clone, Debug, Default)]
pub struct LineTensor {
    /// Shape of each item, without the batch dimension.
    pub item_shape: Vec<u32>,
    /// The data.
    pub data: Bytes,
    /// Where each item ends in `data`; `None`: all items have `data.len() / items` bytes.
    pub item_ends: Option<Box<[u32]>>,
}

impl LineTensor {
    /// Byte range of items `first..first + count`, given the line's number of items.
    #[must_use]
    pub fn range(&self, first: u32, count: u32, items: u32) -> std::ops::Range<usize> {
        match &self.item_ends {
            Some(ends) => {
                let end = |item: u32| item.checked_sub(1).map_or(0, |before| ends[before as usize] as usize);
                end(first)..end(first + count)
            }
            None => {
                let size = self.data.len() / items.max(1) as usize;
                size * first as usize..size * (first + count) as usize
            }
        }
    }
}

/// A line all of whose items have values.
#[derive(Clone, Debug)]
pub struct AnsweredLine<'a> {
    /// Line number, from 1.
    pub number: u64,
    /// The line's id, or its number.
    pub id: &'a str,
    /// Items.
    pub items: u32,
    /// As [`LineCodec::decode`] left it.
    pub form: &'a [u8],
    /// One tensor per output of the manifest, in the manifest's order, each holding all items of the line.
    pub outputs: &'a [AnsweredTensor],
}

/// An output tensor of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredTensor {
    /// Element type.
    pub datatype: workers_protocol::Datatype,
    /// Shape of each item.
    pub item_shape: Vec<u32>,
    /// Data of all items.
    pub data: Bytes,
}

/// Why a line has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// For programs; a closed set: see `docs/bulk.md`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl LineFault {
    /// The line itself is wrong.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: "invalid_line", message: message.into() }
    }
}
