//! The small parts of a request's JSON: texts, shapes, datatypes, scalars, and what is passed over.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use workers_protocol::Datatype;

use super::context::ParseContext;
use super::request::Shape;
use crate::http::errors::Code;

/// Dimensions that a tensor may have: a model's shape has at most 8, and the items come first.
const MAX_RANK: usize = 9;

/// A JSON string; borrowed unless it holds escapes.
pub(super) type Text<'a> = Cow<'a, str>;

/// Fails if a field was there before.
pub(super) fn once<T, E: Error>(context: &ParseContext<'_>, before: &Option<T>) -> Result<(), E> {
    match before {
        None => Ok(()),
        Some(_) => Err(context.fail(Code::InvalidRequest, format_args!("appears twice"))),
    }
}

/// Reads a string.
pub(super) struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Text<'de>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    #[inline]
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Reads a datatype's name.
pub(super) struct DatatypeSeed<'c>(pub(super) &'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for DatatypeSeed<'_> {
    type Value = Datatype;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Datatype, D::Error> {
        let name = TextSeed.deserialize(deserializer)?;
        Datatype::from_name(&name).ok_or_else(|| {
            let shown: String = name.chars().take(32).collect();
            self.0
                .fail(Code::InvalidTensor, format_args!("is `{shown}`, which is no datatype of the protocol"))
        })
    }
}

/// Reads a shape and its product, both within bounds.
pub(super) struct ShapeSeed<'c>(pub(super) &'c ParseContext<'c>);

impl<'de> DeserializeSeed<'de> for ShapeSeed<'_> {
    type Value = (Shape, u64);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed<'_> {
    type Value = (Shape, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of integers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let context = self.0;
        let mut shape = Shape::new();
        while let Some(Dimension(size)) = entries.next_element()? {
            let Ok(size) = u64::try_from(size) else {
                let index = shape.len();
                return Err(context
                    .fail(Code::InvalidTensor, format_args!("has a negative size at dimension {index}")));
            };
            if shape.len() == MAX_RANK {
                return Err(
                    context.fail(Code::InvalidTensor, format_args!("has more than {MAX_RANK} dimensions"))
                );
            }
            shape.push(size);
        }
        let product = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
        let Some(elements) = product else {
            return Err(context.fail(Code::InvalidTensor, format_args!("has a product that overflows")));
        };
        let most = context.config.max_elements;
        if elements > most {
            let text = format_args!("has {elements} elements, more than the {most} that are allowed");
            return Err(context.fail(Code::TooLarge, text));
        }
        Ok((shape, elements))
    }
}

/// A dimension as it stands: wide enough to tell "negative" from "not an integer".
struct Dimension(i128);

impl<'de> serde::Deserialize<'de> for Dimension {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar(PhantomData)).and_then(|value| match value {
            Value::Integer(size) => Ok(Self(size)),
            Value::Bool(_) | Value::Other => Err(D::Error::custom("a dimension must be an integer")),
        })
    }
}

/// A parameter's value, as far as we care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i128),
    Other,
}

/// Reads a scalar.
pub(super) struct Scalar<T>(pub(super) PhantomData<T>);

impl<'de> Visitor<'de> for Scalar<()> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, _value: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E: Error>(self, _value: &str) -> Result<Value, E> {
        Ok(Value::Other)
    }
}

impl<'de> DeserializeSeed<'de> for Scalar<()> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Passes over a value, down to the depth that is allowed.
pub(super) struct Skip<'c> {
    pub(super) context: &'c ParseContext<'c>,
    /// Objects and arrays around the value, itself included if it is one.
    pub(super) depth: usize,
}

impl Skip<'_> {
    fn check<E: Error>(&self) -> Result<(), E> {
        let most = self.context.config.max_json_depth;
        if self.depth > most {
            return Err(self.context.fail(Code::InvalidJson, format_args!("is nested deeper than {most}")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Skip<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.check()?;
        while entries.next_element_seed(Skip { context: self.context, depth: self.depth + 1 })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.check()?;
        while entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(Skip { context: self.context, depth: self.depth + 1 })?;
        }
        Ok(())
    }
}
