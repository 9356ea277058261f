//! The `parameters` objects of a request: those that are known, checked; those that would change the result and are not
//! supported, refused; all others passed over.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::context::ParseContext;
use super::fields::{Scalar, Skip, TextSeed, Value};
use crate::http::errors::Code;

/// The request's own parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestParameters {
    /// `timeout`, in microseconds; 0 is none.
    pub(super) timeout_us: Option<u64>,
    /// `priority`; 0 is the default, 1 the most urgent.
    pub(super) priority: Option<u64>,
    pub(super) binary_data_output: bool,
    pub(super) penstock_receipt: bool,
}

/// Reads one `parameters` object: `take` sees each known name's value and says whether it fits.
struct ParametersVisitor<'c, F> {
    context: &'c ParseContext<'c>,
    /// Names that are looked at; others are passed over.
    known: &'static [&'static str],
    take: F,
}

impl<'de, F: FnMut(&'static str, Value) -> Result<(), &'static str>> DeserializeSeed<'de>
    for ParametersVisitor<'_, F>
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&'static str, Value) -> Result<(), &'static str>> Visitor<'de>
    for ParametersVisitor<'_, F>
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of parameters")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let context = self.context;
        let mut seen = 0_u32;
        while let Some(key) = map.next_key_seed(TextSeed)? {
            let Some(position) = self.known.iter().position(|&name| name == key) else {
                map.next_value_seed(Skip { context, depth: 5 })?;
                continue;
            };
            let name = self.known[position];
            if seen & (1 << position) != 0 {
                return Err(context.fail(Code::InvalidRequest, format_args!("has `{name}` twice")));
            }
            seen |= 1 << position;
            let value = map.next_value_seed(Scalar(PhantomData))?;
            if let Err(reason) = (self.take)(name, value) {
                return Err(context.fail(Code::InvalidRequest, format_args!("`{name}` {reason}")));
            }
        }
        Ok(())
    }
}

const NOT_A_COUNT: &str = "must be an integer that is not negative";
const NOT_A_BOOL: &str = "must be `true` or `false`";

fn as_count(value: Value) -> Result<u64, &'static str> {
    match value {
        Value::Integer(count) => u64::try_from(count).map_err(|_| NOT_A_COUNT),
        Value::Bool(_) | Value::Other => Err(NOT_A_COUNT),
    }
}

fn as_bool(value: Value) -> Result<bool, &'static str> {
    match value {
        Value::Bool(value) => Ok(value),
        Value::Integer(_) | Value::Other => Err(NOT_A_BOOL),
    }
}

/// Reads the request's parameters.
pub(super) struct RequestParametersSeed<'c>(pub(super) &'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for RequestParametersSeed<'_> {
    type Value = RequestParameters;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RequestParameters, D::Error> {
        let mut parameters = RequestParameters::default();
        ParametersVisitor {
            context: self.0,
            known: &["binary_data_output", "timeout", "priority", "penstock_receipt", "sequence_id"],
            take: |name, value| {
                match name {
                    "binary_data_output" => parameters.binary_data_output = as_bool(value)?,
                    "timeout" => parameters.timeout_us = Some(as_count(value)?),
                    "priority" => parameters.priority = Some(as_count(value)?),
                    "penstock_receipt" => parameters.penstock_receipt = as_bool(value)?,
                    _ if value == Value::Integer(0) => {}
                    _ => return Err("is not supported: no model here keeps state between requests"),
                }
                Ok(())
            },
        }
        .deserialize(deserializer)?;
        Ok(parameters)
    }
}

const NO_SHARED_MEMORY: &str = "is not supported: there is no shared memory with clients";

/// Reads an input's parameters: its `binary_data_size`, if it has one.
pub(super) struct InputParametersSeed<'c>(pub(super) &'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for InputParametersSeed<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut size = None;
        ParametersVisitor {
            context: self.0,
            known: &["binary_data_size", "shared_memory_region"],
            take: |name, value| {
                if name == "shared_memory_region" {
                    return Err(NO_SHARED_MEMORY);
                }
                size = Some(as_count(value)?);
                Ok(())
            },
        }
        .deserialize(deserializer)?;
        Ok(size)
    }
}

/// Reads an output's parameters: its `binary_data`, if it has one.
pub(super) struct OutputParametersSeed<'c>(pub(super) &'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for OutputParametersSeed<'_> {
    type Value = Option<bool>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut binary = None;
        ParametersVisitor {
            context: self.0,
            known: &["binary_data", "shared_memory_region", "classification"],
            take: |name, value| match name {
                "binary_data" => {
                    binary = Some(as_bool(value)?);
                    Ok(())
                }
                "shared_memory_region" => Err(NO_SHARED_MEMORY),
                _ if value == Value::Integer(0) => Ok(()),
                _ => Err("is not supported: outputs are given as the model made them"),
            },
        }
        .deserialize(deserializer)?;
        Ok(binary)
    }
}
