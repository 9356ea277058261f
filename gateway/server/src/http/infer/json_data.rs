//! A tensor's `data` in JSON, read in one pass straight into the little-endian bytes of its datatype.
//!
//! Both forms of the protocol are taken, flat and nested; nothing between them: nesting must follow `shape` exactly.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use workers_protocol::Datatype;

use super::context::ParseContext;
use super::elements::{ByteString, Element, Misfit};
use crate::http::errors::Code;

/// Reads `data` of the given datatype and shape.
pub(super) struct DataSeed<'c> {
    pub(super) context: &'c ParseContext<'c>,
    pub(super) datatype: Datatype,
    pub(super) shape: &'c [u64],
    /// The product of `shape`, already within bounds.
    pub(super) elements: u64,
}

impl<'de> DeserializeSeed<'de> for DataSeed<'_> {
    type Value = Vec<u8>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
        match self.datatype {
            Datatype::Bool => self.read::<bool, D>(deserializer),
            Datatype::Uint8 => self.read::<u8, D>(deserializer),
            Datatype::Uint16 => self.read::<u16, D>(deserializer),
            Datatype::Uint32 => self.read::<u32, D>(deserializer),
            Datatype::Uint64 => self.read::<u64, D>(deserializer),
            Datatype::Int8 => self.read::<i8, D>(deserializer),
            Datatype::Int16 => self.read::<i16, D>(deserializer),
            Datatype::Int32 => self.read::<i32, D>(deserializer),
            Datatype::Int64 => self.read::<i64, D>(deserializer),
            Datatype::Fp32 => self.read::<f32, D>(deserializer),
            Datatype::Fp64 => self.read::<f64, D>(deserializer),
            Datatype::Bytes => self.read::<ByteString, D>(deserializer),
            Datatype::Fp16 | Datatype::Bf16 => Err(self.context.fail(
                Code::InvalidTensor,
                format_args!("{} has no JSON form; send the tensor as binary data", self.datatype),
            )),
        }
    }
}

impl DataSeed<'_> {
    fn read<'de, E: Element, D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
        let mut sink = Sink::<E> {
            context: self.context,
            datatype: self.datatype,
            shape: self.shape,
            elements: self.elements,
            read: 0,
            form: Form::Unknown,
            // An element needs at least a digit and a comma, so a small body cannot ask for much memory.
            out: Vec::with_capacity(self.context.decoded_size_bound(self.datatype, self.elements)),
            marker: PhantomData,
        };
        Node { sink: &mut sink, depth: 0 }.deserialize(deserializer)?;
        Ok(sink.out)
    }
}

/// How `data` is written; decided by its first entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Unknown,
    Flat,
    Nested,
}

/// Where elements go.
struct Sink<'c, E> {
    context: &'c ParseContext<'c>,
    datatype: Datatype,
    shape: &'c [u64],
    elements: u64,
    read: u64,
    form: Form,
    out: Vec<u8>,
    marker: PhantomData<E>,
}

impl<E: Element> Sink<'_, E> {
    fn fail<R: Error>(&self, text: fmt::Arguments<'_>) -> R {
        self.context.fail(Code::InvalidTensor, text)
    }

    /// Takes one element that stands inside `depth` arrays.
    #[inline]
    fn element<R: Error>(
        &mut self,
        depth: usize,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), Misfit>,
        shown: impl FnOnce() -> String,
    ) -> Result<(), R> {
        if self.form == Form::Unknown {
            self.form = Form::Flat;
        }
        let expected_depth = if self.form == Form::Flat { 1 } else { self.shape.len() };
        if depth != expected_depth {
            return Err(self.misplaced(depth));
        }
        if self.read == self.elements {
            return Err(self.fail(format_args!("has more than the {} elements of its shape", self.elements)));
        }
        if let Err(misfit) = put(&mut self.out) {
            return Err(self.misfit(misfit, &shown()));
        }
        self.read += 1;
        Ok(())
    }

    #[cold]
    fn misplaced<R: Error>(&self, depth: usize) -> R {
        match depth {
            0 => self.fail(format_args!("must be an array")),
            _ => self.fail(format_args!(
                "is ragged: element {} stands at depth {depth}, the shape has {} dimensions",
                self.read,
                self.shape.len()
            )),
        }
    }

    #[cold]
    fn misfit<R: Error>(&self, misfit: Misfit, shown: &str) -> R {
        let (index, datatype) = (self.read, self.datatype);
        match misfit {
            Misfit::Kind => {
                self.fail(format_args!("element {index} must be {} for {datatype}, not {shown}", E::EXPECTED))
            }
            Misfit::Range => {
                self.fail(format_args!("element {index}: {shown} is out of range for {datatype}"))
            }
        }
    }

    /// Enters an array that stands inside `depth` others.
    fn enter<R: Error>(&mut self, depth: usize) -> Result<(), R> {
        if depth == 0 {
            return Ok(());
        }
        if self.form == Form::Unknown {
            self.form = Form::Nested;
        }
        if self.form == Form::Flat || depth >= self.shape.len() {
            return Err(self.fail(format_args!(
                "is ragged: an array stands at depth {depth} after element {}, the shape has {} dimensions",
                self.read,
                self.shape.len()
            )));
        }
        Ok(())
    }

    /// Leaves an array of `entries` that stands inside `depth` others.
    fn leave<R: Error>(&self, depth: usize, entries: u64) -> Result<(), R> {
        let flat = self.form != Form::Nested;
        if flat && self.read != self.elements {
            return Err(
                self.fail(format_args!("has {} elements, its shape says {}", self.read, self.elements))
            );
        }
        match self.shape.get(depth) {
            Some(&dimension) if !flat && dimension != entries => Err(self.fail(format_args!(
                "is ragged: an array at depth {depth} has {entries} entries, the shape says {dimension}"
            ))),
            _ => Ok(()),
        }
    }
}

/// One value of `data`, inside `depth` arrays.
struct Node<'s, 'c, E> {
    sink: &'s mut Sink<'c, E>,
    depth: usize,
}

impl<'de, E: Element> DeserializeSeed<'de> for Node<'_, '_, E> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E: Element> Visitor<'de> for Node<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array or {}", E::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.sink.enter(self.depth)?;
        let mut count = 0_u64;
        while entries.next_element_seed(Node { sink: &mut *self.sink, depth: self.depth + 1 })?.is_some() {
            count += 1;
        }
        self.sink.leave(self.depth, count)
    }

    #[inline]
    fn visit_f64<R: Error>(self, value: f64) -> Result<(), R> {
        self.sink.element(self.depth, |out| E::put_f64(out, value), || value.to_string())
    }

    #[inline]
    fn visit_u64<R: Error>(self, value: u64) -> Result<(), R> {
        self.sink.element(self.depth, |out| E::put_u64(out, value), || value.to_string())
    }

    #[inline]
    fn visit_i64<R: Error>(self, value: i64) -> Result<(), R> {
        self.sink.element(self.depth, |out| E::put_i64(out, value), || value.to_string())
    }

    fn visit_bool<R: Error>(self, value: bool) -> Result<(), R> {
        self.sink.element(self.depth, |out| E::put_bool(out, value), || value.to_string())
    }

    fn visit_str<R: Error>(self, value: &str) -> Result<(), R> {
        self.sink.element(self.depth, |out| E::put_str(out, value), || "a string".to_owned())
    }

    fn visit_unit<R: Error>(self) -> Result<(), R> {
        self.sink.element(self.depth, |_| Err(Misfit::Kind), || "null".to_owned())
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, _entries: A) -> Result<(), A::Error> {
        self.sink.element(self.depth, |_| Err(Misfit::Kind), || "an object".to_owned())
    }
}
