//! Tensor elements as JSON. Exact: numbers are written so that reading them gives the same bits.

use serde::Serialize;
use workers_protocol::Datatype;

/// An element that JSON has no form for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// NaN or infinite.
    #[error("is NaN or infinite at element {element}")]
    NotFinite {
        /// Its position.
        element: usize,
    },
    /// A byte string that is not text.
    #[error("is not UTF-8 at element {element}")]
    NotUtf8 {
        /// Its position.
        element: usize,
    },
    /// Half precision.
    #[error("is {0}, which has no JSON form")]
    Halves(Datatype),
    /// Bytes left over.
    #[error("does not hold whole elements")]
    Corrupt,
}

/// Writes the elements of `data`, nested by `shape` (whose product is their number): `[2, 2]` → `[[a,b],[c,d]]`, `[]` → `a`.
///
/// # Errors
/// The first element that JSON has no form for.
pub fn push_elements(out: &mut Vec<u8>, datatype: Datatype, shape: &[u32], data: &[u8]) -> Result<(), Unfit> {
    let mut elements = Elements { datatype, rest: data, index: 0 };
    push_nested(out, shape, &mut elements)?;
    if elements.rest.is_empty() { Ok(()) } else { Err(Unfit::Corrupt) }
}

struct Elements<'a> {
    datatype: Datatype,
    rest: &'a [u8],
    index: usize,
}

fn push_nested(out: &mut Vec<u8>, shape: &[u32], elements: &mut Elements<'_>) -> Result<(), Unfit> {
    let Some((&length, inner)) = shape.split_first() else {
        return elements.push(out);
    };
    out.push(b'[');
    for position in 0..length {
        if position > 0 {
            out.push(b',');
        }
        push_nested(out, inner, elements)?;
    }
    out.push(b']');
    Ok(())
}

impl Elements<'_> {
    fn take<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Unfit> {
        let (element, rest) = self.rest.split_first_chunk::<SIZE>().ok_or(Unfit::Corrupt)?;
        self.rest = rest;
        Ok(*element)
    }

    fn push(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self.datatype {
            Datatype::Bool => {
                let [byte] = self.take()?;
                out.extend_from_slice(if byte == 0 { b"false" } else { b"true" });
            }
            Datatype::Uint8 => push_json(out, &u8::from_le_bytes(self.take()?)),
            Datatype::Uint16 => push_json(out, &u16::from_le_bytes(self.take()?)),
            Datatype::Uint32 => push_json(out, &u32::from_le_bytes(self.take()?)),
            Datatype::Uint64 => push_json(out, &u64::from_le_bytes(self.take()?)),
            Datatype::Int8 => push_json(out, &i8::from_le_bytes(self.take()?)),
            Datatype::Int16 => push_json(out, &i16::from_le_bytes(self.take()?)),
            Datatype::Int32 => push_json(out, &i32::from_le_bytes(self.take()?)),
            Datatype::Int64 => push_json(out, &i64::from_le_bytes(self.take()?)),
            Datatype::Fp32 => {
                let value = f32::from_le_bytes(self.take()?);
                self.finite(value.is_finite())?;
                push_json(out, &value);
            }
            Datatype::Fp64 => {
                let value = f64::from_le_bytes(self.take()?);
                self.finite(value.is_finite())?;
                push_json(out, &value);
            }
            Datatype::Fp16 | Datatype::Bf16 => return Err(Unfit::Halves(self.datatype)),
            Datatype::Bytes => {
                let length = u32::from_le_bytes(self.take()?) as usize;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Unfit::Corrupt)?;
                self.rest = rest;
                let text = std::str::from_utf8(bytes).map_err(|_| Unfit::NotUtf8 { element: self.index })?;
                push_string(out, text);
            }
        }
        self.index += 1;
        Ok(())
    }

    fn finite(&self, is_finite: bool) -> Result<(), Unfit> {
        if is_finite { Ok(()) } else { Err(Unfit::NotFinite { element: self.index }) }
    }
}

/// Writes a string with its quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    push_json(out, text);
}

fn push_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "strings and finite numbers always serialize into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_nested_by_their_shape_and_read_back_to_the_same_bits() {
        let values = [0.1_f32, -1.5e-38, 16_777_216.0, 0.0];
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut out = Vec::new();
        push_elements(&mut out, Datatype::Fp32, &[2, 2], &data).unwrap();
        let read: Vec<Vec<f32>> = serde_json::from_slice(&out).unwrap();
        assert_eq!(read.concat(), values);
        out.clear();
        push_elements(&mut out, Datatype::Int64, &[], &7_i64.to_le_bytes()).unwrap();
        assert_eq!(out, b"7");
    }

    #[test]
    fn what_json_cannot_carry_is_named() {
        let mut out = Vec::new();
        let data = [1.0_f32, f32::NAN].map(f32::to_le_bytes).concat();
        let unfit = push_elements(&mut out, Datatype::Fp32, &[2], &data).unwrap_err();
        assert_eq!(unfit, Unfit::NotFinite { element: 1 });
        assert_eq!(push_elements(&mut out, Datatype::Uint8, &[1], &[1, 2]).unwrap_err(), Unfit::Corrupt);
    }
}
