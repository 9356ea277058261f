//! The JSON of an inference request, read strictly: known fields once each and of the right kind, within bounds.
//!
//! Unknown fields are passed over, as the protocol lets extensions add some. Whether the request fits a model is not asked here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use workers_protocol::Datatype;

use super::context::{ParseContext, Place};
use super::fields::{self, ShapeSeed, Skip, Text, TextSeed};
use super::json_data::DataSeed;
use super::parameters::{
    InputParametersSeed, OutputParametersSeed, RequestParameters, RequestParametersSeed,
};
use crate::http::HttpConfig;
use crate::http::errors::{ApiError, Code};

/// Entries that `inputs` and `outputs` may have; a model has at most 16 of each.
const MAX_TENSORS: usize = 64;

/// Dimensions of a tensor.
pub(in crate::http) type Shape = SmallVec<[u64; 8]>;

/// A read request.
#[derive(Debug, Default, PartialEq)]
pub(in crate::http) struct InferRequest<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) parameters: RequestParameters,
    pub(super) inputs: SmallVec<[RequestInput<'a>; 1]>,
    /// Empty: all outputs.
    pub(super) outputs: SmallVec<[RequestedOutput<'a>; 2]>,
}

/// One entry of `inputs`.
#[derive(Debug, PartialEq)]
pub(in crate::http) struct RequestInput<'a> {
    pub(super) name: Text<'a>,
    pub(super) datatype: Datatype,
    pub(super) shape: Shape,
    /// Product of `shape`.
    pub(super) elements: u64,
    pub(super) source: Source,
}

/// Where an input's data is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) enum Source {
    /// It was in the JSON, and has been read.
    Json(Vec<u8>),
    /// It follows the JSON, with this many bytes.
    Binary(u64),
}

/// One entry of `outputs`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct RequestedOutput<'a> {
    pub(super) name: Text<'a>,
    /// Whether it is wanted as binary data, if the entry says so.
    pub(super) binary: Option<bool>,
}

/// Reads a request.
pub(in crate::http) fn parse<'a>(json: &'a [u8], config: &HttpConfig) -> Result<InferRequest<'a>, ApiError> {
    let context = ParseContext::new(config, json.len());
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    RequestSeed(&context)
        .deserialize(&mut deserializer)
        .and_then(|request| {
            context.enter(Place::Top(""));
            deserializer.end().map(|()| request)
        })
        .map_err(|error| context.explain(&error))
}

struct RequestSeed<'c>(&'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for RequestSeed<'_> {
    type Value = InferRequest<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed<'_> {
    type Value = InferRequest<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an inference request, as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let context = self.0;
        let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
        while let Some(key) = map.next_key_seed(TextSeed)? {
            match &*key {
                "id" => {
                    context.enter(Place::Top("id"));
                    fields::once(context, &id)?;
                    id = Some(map.next_value_seed(TextSeed)?);
                }
                "parameters" => {
                    context.enter(Place::Top("parameters"));
                    fields::once(context, &parameters)?;
                    parameters = Some(map.next_value_seed(RequestParametersSeed(context))?);
                }
                "inputs" => {
                    context.enter(Place::Top("inputs"));
                    fields::once(context, &inputs)?;
                    inputs = Some(map.next_value_seed(InputsSeed(context))?);
                }
                "outputs" => {
                    context.enter(Place::Top("outputs"));
                    fields::once(context, &outputs)?;
                    outputs = Some(map.next_value_seed(OutputsSeed(context))?);
                }
                _ => map.next_value_seed(Skip { context, depth: 2 })?,
            }
            context.enter(Place::Top(""));
        }
        let Some(inputs) = inputs else {
            context.enter(Place::Top("inputs"));
            return Err(context.fail(Code::InvalidRequest, format_args!("is missing")));
        };
        let parameters = parameters.unwrap_or_default();
        Ok(InferRequest { id, parameters, inputs, outputs: outputs.unwrap_or_default() })
    }
}

struct InputsSeed<'c>(&'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for InputsSeed<'_> {
    type Value = SmallVec<[RequestInput<'de>; 1]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for InputsSeed<'_> {
    type Value = SmallVec<[RequestInput<'de>; 1]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of inputs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut inputs = SmallVec::new();
        while let Some(input) =
            entries.next_element_seed(InputSeed { context: self.0, index: inputs.len() })?
        {
            if inputs.len() == MAX_TENSORS {
                self.0.enter(Place::Top("inputs"));
                return Err(self
                    .0
                    .fail(Code::InvalidRequest, format_args!("has more than {MAX_TENSORS} entries")));
            }
            inputs.push(input);
        }
        Ok(inputs)
    }
}

struct InputSeed<'c> {
    context: &'c ParseContext<'c>,
    index: usize,
}

impl<'de> DeserializeSeed<'de> for InputSeed<'_> {
    type Value = RequestInput<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.context.enter(Place::Input(self.index, ""));
        deserializer.deserialize_map(self)
    }
}

/// `data` as met: read at once if datatype and shape came before it, else kept as text for later.
enum Data<'de> {
    Read(Vec<u8>),
    Later(&'de RawValue),
}

impl<'de> Visitor<'de> for InputSeed<'_> {
    type Value = RequestInput<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an input, as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (context, index) = (self.context, self.index);
        let enter = |field| context.enter(Place::Input(index, field));
        let (mut name, mut datatype, mut shape, mut parameters) = (None, None, None, None);
        let mut data = None;
        while let Some(key) = map.next_key_seed(TextSeed)? {
            match &*key {
                "name" => {
                    enter("name");
                    fields::once(context, &name)?;
                    name = Some(map.next_value_seed(TextSeed)?);
                }
                "shape" => {
                    enter("shape");
                    fields::once(context, &shape)?;
                    shape = Some(map.next_value_seed(ShapeSeed(context))?);
                }
                "datatype" => {
                    enter("datatype");
                    fields::once(context, &datatype)?;
                    datatype = Some(map.next_value_seed(fields::DatatypeSeed(context))?);
                }
                "parameters" => {
                    enter("parameters");
                    fields::once(context, &parameters)?;
                    parameters = Some(map.next_value_seed(InputParametersSeed(context))?);
                }
                "data" => {
                    enter("data");
                    fields::once(context, &data)?;
                    data = Some(match (datatype, &shape) {
                        (Some(datatype), Some((shape, elements))) => {
                            Data::Read(map.next_value_seed(DataSeed {
                                context,
                                datatype,
                                shape: shape as &Shape,
                                elements: *elements,
                            })?)
                        }
                        _ => Data::Later(map.next_value()?),
                    });
                }
                _ => map.next_value_seed(Skip { context, depth: 4 })?,
            }
            enter("");
        }
        let missing = |field: &'static str| {
            enter(field);
            context.fail::<A::Error>(Code::InvalidRequest, format_args!("is missing"))
        };
        let name = name.ok_or_else(|| missing("name"))?;
        let datatype = datatype.ok_or_else(|| missing("datatype"))?;
        let (shape, elements) = shape.ok_or_else(|| missing("shape"))?;
        enter("data");
        let source = match (data, parameters.unwrap_or_default()) {
            (Some(_), Some(_)) => {
                let text = format_args!("and `parameters.binary_data_size` exclude each other");
                return Err(context.fail(Code::InvalidRequest, text));
            }
            (None, Some(binary_data_size)) => Source::Binary(binary_data_size),
            (None, None) => return Err(missing("data")),
            (Some(Data::Read(bytes)), None) => Source::Json(bytes),
            (Some(Data::Later(text)), None) => {
                let seed = DataSeed { context, datatype, shape: &shape, elements };
                let mut deserializer = serde_json::Deserializer::from_str(text.get());
                Source::Json(seed.deserialize(&mut deserializer).map_err(serde::de::Error::custom)?)
            }
        };
        Ok(RequestInput { name, datatype, shape, elements, source })
    }
}

struct OutputsSeed<'c>(&'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for OutputsSeed<'_> {
    type Value = SmallVec<[RequestedOutput<'de>; 2]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OutputsSeed<'_> {
    type Value = SmallVec<[RequestedOutput<'de>; 2]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of outputs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut outputs = SmallVec::new();
        while let Some(output) =
            entries.next_element_seed(OutputSeed { context: self.0, index: outputs.len() })?
        {
            if outputs.len() == MAX_TENSORS {
                self.0.enter(Place::Top("outputs"));
                return Err(self
                    .0
                    .fail(Code::InvalidRequest, format_args!("has more than {MAX_TENSORS} entries")));
            }
            outputs.push(output);
        }
        Ok(outputs)
    }
}

struct OutputSeed<'c> {
    context: &'c ParseContext<'c>,
    index: usize,
}

impl<'de> DeserializeSeed<'de> for OutputSeed<'_> {
    type Value = RequestedOutput<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.context.enter(Place::Output(self.index, ""));
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OutputSeed<'_> {
    type Value = RequestedOutput<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an output, as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (context, index) = (self.context, self.index);
        let (mut name, mut parameters) = (None, None);
        while let Some(key) = map.next_key_seed(TextSeed)? {
            match &*key {
                "name" => {
                    context.enter(Place::Output(index, "name"));
                    fields::once(context, &name)?;
                    name = Some(map.next_value_seed(TextSeed)?);
                }
                "parameters" => {
                    context.enter(Place::Output(index, "parameters"));
                    fields::once(context, &parameters)?;
                    parameters = Some(map.next_value_seed(OutputParametersSeed(context))?);
                }
                _ => map.next_value_seed(Skip { context, depth: 4 })?,
            }
            context.enter(Place::Output(index, ""));
        }
        let Some(name) = name else {
            context.enter(Place::Output(index, "name"));
            return Err(context.fail(Code::InvalidRequest, format_args!("is missing")));
        };
        Ok(RequestedOutput { name, binary: parameters.flatten() })
    }
}
