//! The body of `POST /v1/embeddings`, read strictly: what would change the answer and is not supported is refused, not passed over.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::error::OpenAiError;
use crate::http::errors::{ApiError, Code};

/// Inputs of one call, as OpenAI bounds them.
pub(super) const MAX_INPUTS: u32 = 2048;
/// Longest part of a parser's message that is given back: it may quote the request.
const MAX_QUOTED_BYTES: usize = 200;

/// A read request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingsRequest {
    /// Name of the model.
    pub model: String,
    /// What to embed: at least one text.
    pub texts: Texts,
    /// Whether vectors are wanted as base64 of little-endian FP32, instead of JSON numbers.
    pub base64: bool,
    /// Length of the vectors, if the caller names one.
    pub dimensions: Option<u64>,
}

/// Texts in the form in which they travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Of each a `u32` length and the bytes.
    pub data: Bytes,
    /// Where each ends in `data`.
    pub ends: Box<[u32]>,
}

impl Texts {
    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The texts' bytes, without their lengths.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.data[start as usize + 4..end as usize])
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: EncodingFormat,
    #[serde(default)]
    dimensions: Option<u64>,
    /// An end user's name; nothing is done with it.
    #[serde(default, rename = "user")]
    _user: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    #[default]
    Float,
    Base64,
}

impl EmbeddingsRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, with the field where that is known.
    pub fn parse(json: &[u8]) -> Result<Self, OpenAiError> {
        let body: Body = serde_json::from_slice(json).map_err(|error| explain(&error))?;
        let refuse = |text: String| Err(OpenAiError::invalid(Some("input"), text));
        let texts = match body.input {
            Input::Texts(texts) => texts,
            Input::Refused(reason) => return refuse(reason),
        };
        if texts.is_empty() {
            return refuse("`input` is empty".to_owned());
        }
        if body.dimensions == Some(0) {
            return Err(OpenAiError::invalid(Some("dimensions"), "`dimensions` must be at least 1"));
        }
        let base64 = body.encoding_format == EncodingFormat::Base64;
        Ok(Self { model: body.model, texts, base64, dimensions: body.dimensions })
    }
}

fn explain(error: &serde_json::Error) -> OpenAiError {
    let mut text = error.to_string();
    if text.len() > MAX_QUOTED_BYTES {
        text.truncate(text.floor_char_boundary(MAX_QUOTED_BYTES));
        text.push('…');
    }
    if error.is_data() {
        return OpenAiError::invalid(None, text);
    }
    ApiError::new(Code::InvalidJson, format!("malformed JSON: {text}")).into()
}

/// `input`: a text or a list of texts. What else OpenAI allows is read to its end and refused with a reason.
enum Input {
    Texts(Texts),
    Refused(String),
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings as `input`")
    }

    fn visit_str<E>(self, text: &str) -> Result<Input, E> {
        let mut texts = Collected::default();
        texts.push(text);
        Ok(texts.finish())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Input, A::Error> {
        let mut texts = Collected::default();
        while entries.next_element_seed(&mut texts)?.is_some() {}
        Ok(texts.finish())
    }
}

/// Texts so far, and what is wrong with the first that is none.
#[derive(Default)]
struct Collected {
    data: Vec<u8>,
    ends: Vec<u32>,
    refused: Option<String>,
}

impl Collected {
    fn push(&mut self, text: &str) {
        let index = self.ends.len();
        if text.is_empty() {
            self.refuse(format!("`input[{index}]` is empty"));
        } else if self.ends.len() >= MAX_INPUTS as usize {
            self.refuse(format!("`input` has more than {MAX_INPUTS} texts"));
        }
        if self.refused.is_some() {
            return;
        }
        let end = u32::try_from(self.data.len() + 4 + text.len());
        let (Ok(length), Ok(end)) = (u32::try_from(text.len()), end) else {
            return self.refuse("`input` exceeds 4 GiB".to_owned());
        };
        self.data.extend_from_slice(&length.to_le_bytes());
        self.data.extend_from_slice(text.as_bytes());
        self.ends.push(end);
    }

    fn refuse(&mut self, reason: String) {
        self.refused.get_or_insert(reason);
    }

    fn finish(self) -> Input {
        match self.refused {
            Some(reason) => Input::Refused(reason),
            None => Input::Texts(Texts { data: self.data.into(), ends: self.ends.into() }),
        }
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for &mut Collected {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Collected {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string as `input[{}]`", self.ends.len())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.push(text);
        Ok(())
    }

    fn visit_u64<E>(self, _token: u64) -> Result<(), E> {
        self.refuse(
            "arrays of token ids are not supported as `input`: send texts, the model has its own tokenizer"
                .to_owned(),
        );
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<(), A::Error> {
        while tokens.next_element::<IgnoredAny>()?.is_some() {}
        self.visit_u64(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<EmbeddingsRequest, String> {
        EmbeddingsRequest::parse(json.as_bytes()).map_err(|error| error.body()["error"].to_string())
    }

    #[test]
    fn one_text_and_a_list_of_texts_are_read() {
        let one = parse(r#"{"model":"m","input":"h\u00e9"}"#).unwrap();
        assert_eq!((one.texts.len(), one.base64, one.dimensions), (1, false, None));
        let list =
            r#"{"input":["a","bcd"],"model":"m","encoding_format":"base64","dimensions":4,"user":"u"}"#;
        let list = parse(list).unwrap();
        assert_eq!(list.texts.iter().collect::<Vec<_>>(), [&b"a"[..], b"bcd"]);
        assert_eq!((&*list.texts.data, &*list.texts.ends), (&b"\x01\0\0\0a\x03\0\0\0bcd"[..], &[5, 12][..]));
        assert_eq!((list.base64, list.dimensions), (true, Some(4)));
    }

    #[test]
    fn what_is_not_supported_is_refused_with_its_field() {
        for (json, expected) in [
            (r#"{"model":"m","input":[1,2]}"#, "token ids"),
            (r#"{"model":"m","input":[[1,2],[3]]}"#, "token ids"),
            (r#"{"model":"m","input":""}"#, "`input[0]` is empty"),
            (r#"{"model":"m","input":["a",""]}"#, "`input[1]` is empty"),
            (r#"{"model":"m","input":[]}"#, "`input` is empty"),
            (r#"{"model":"m","input":{}}"#, "expected a string or an array of strings"),
            (r#"{"model":"m","input":["a",null]}"#, "expected a string as `input[1]`"),
            (r#"{"model":"m"}"#, "missing field `input`"),
            (r#"{"input":"a"}"#, "missing field `model`"),
            (r#"{"model":"m","input":"a","dimensions":0}"#, "at least 1"),
            (r#"{"model":"m","input":"a","encoding_format":"hex"}"#, "unknown variant `hex`"),
            (r#"{"model":"m","input":"a","truncate":true}"#, "unknown field `truncate`"),
            (r#"{"model":"m","input":"#, "malformed JSON"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
        let many = vec!["\"a\""; 2049].join(",");
        assert!(
            parse(&format!(r#"{{"model":"m","input":[{many}]}}"#)).unwrap_err().contains("more than 2048")
        );
    }
}
