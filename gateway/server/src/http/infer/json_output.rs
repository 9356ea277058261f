//! Tensor elements as JSON. Exact: numbers are written so that reading them gives the same bits.

use std::fmt;

use serde::Serialize;
use workers_protocol::Datatype;

/// An element that JSON has no form for. The text follows the output's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Unfit {
    NotFinite { element: usize },
    NotUtf8 { element: usize },
    Halves(Datatype),
    Corrupt,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { element } => write!(f, "is NaN or infinite at element {element}"),
            Self::NotUtf8 { element } => write!(f, "is not UTF-8 at element {element}"),
            Self::Halves(datatype) => write!(f, "is {datatype}"),
            Self::Corrupt => f.write_str("does not hold whole elements"),
        }
    }
}

/// Writes the elements of `data`, with commas between.
pub(in crate::http) fn push_elements(
    out: &mut Vec<u8>,
    datatype: Datatype,
    data: &[u8],
) -> Result<(), Unfit> {
    match datatype {
        Datatype::Bool => push_all::<1>(out, data, |out, [byte]| {
            out.extend_from_slice(if byte == 0 { b"false" } else { b"true" });
            Ok(())
        }),
        Datatype::Uint8 => push_all::<1>(out, data, |out, [byte]| integer(out, byte)),
        Datatype::Uint16 => push_all(out, data, |out, bytes| integer(out, u16::from_le_bytes(bytes))),
        Datatype::Uint32 => push_all(out, data, |out, bytes| integer(out, u32::from_le_bytes(bytes))),
        Datatype::Uint64 => push_all(out, data, |out, bytes| integer(out, u64::from_le_bytes(bytes))),
        Datatype::Int8 => push_all(out, data, |out, bytes| integer(out, i8::from_le_bytes(bytes))),
        Datatype::Int16 => push_all(out, data, |out, bytes| integer(out, i16::from_le_bytes(bytes))),
        Datatype::Int32 => push_all(out, data, |out, bytes| integer(out, i32::from_le_bytes(bytes))),
        Datatype::Int64 => push_all(out, data, |out, bytes| integer(out, i64::from_le_bytes(bytes))),
        Datatype::Fp32 => push_all(out, data, |out, bytes| {
            let value = f32::from_le_bytes(bytes);
            finite(value.is_finite())?;
            push_json(out, &value);
            Ok(())
        }),
        Datatype::Fp64 => push_all(out, data, |out, bytes| {
            let value = f64::from_le_bytes(bytes);
            finite(value.is_finite())?;
            push_json(out, &value);
            Ok(())
        }),
        Datatype::Fp16 | Datatype::Bf16 => Err(Unfit::Halves(datatype)),
        Datatype::Bytes => push_byte_strings(out, data),
    }
}

fn push_all<const SIZE: usize>(
    out: &mut Vec<u8>,
    data: &[u8],
    mut push: impl FnMut(&mut Vec<u8>, [u8; SIZE]) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    let (elements, rest) = data.as_chunks::<SIZE>();
    if !rest.is_empty() {
        return Err(Unfit::Corrupt);
    }
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, *element).map_err(|unfit| at(unfit, index))?;
    }
    Ok(())
}

fn push_byte_strings(out: &mut Vec<u8>, data: &[u8]) -> Result<(), Unfit> {
    let mut rest = data;
    let mut index = 0_usize;
    while !rest.is_empty() {
        let (prefix, after) = rest.split_first_chunk::<4>().ok_or(Unfit::Corrupt)?;
        let (bytes, after) =
            after.split_at_checked(u32::from_le_bytes(*prefix) as usize).ok_or(Unfit::Corrupt)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Unfit::NotUtf8 { element: index })?;
        if index > 0 {
            out.push(b',');
        }
        push_string(out, text);
        rest = after;
        index += 1;
    }
    Ok(())
}

fn finite(is_finite: bool) -> Result<(), Unfit> {
    if is_finite { Ok(()) } else { Err(Unfit::NotFinite { element: 0 }) }
}

fn at(unfit: Unfit, element: usize) -> Unfit {
    match unfit {
        Unfit::NotFinite { .. } => Unfit::NotFinite { element },
        Unfit::NotUtf8 { .. } | Unfit::Halves(_) | Unfit::Corrupt => unfit,
    }
}

#[inline]
fn integer<T: itoa::Integer>(out: &mut Vec<u8>, value: T) -> Result<(), Unfit> {
    push_integer(out, value);
    Ok(())
}

/// Writes an integer.
#[inline]
pub(in crate::http) fn push_integer<T: itoa::Integer>(out: &mut Vec<u8>, value: T) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a finite float.
pub(super) fn push_float(out: &mut Vec<u8>, value: f64) {
    push_json(out, &value);
}

/// Writes a string with its quotes.
pub(in crate::http) fn push_string(out: &mut Vec<u8>, text: &str) {
    push_json(out, text);
}

fn push_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "strings and finite numbers always serialize into memory");
}
