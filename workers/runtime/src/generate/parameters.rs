//! What an item asks for beside its prompt: a JSON object as the second element of its tensor.
//!
//! Read in two places: the supervisor wants to know how long an item may take, the model process what to do.

use serde::Deserialize;
use workers_protocol::GenerationSpec;

/// An item's parameters, within the manifest's bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parameters {
    /// Most new tokens.
    pub(crate) max_tokens: u32,
    /// 0: always the most probable token. Else logits are divided by it before a token is drawn.
    pub(crate) temperature: f32,
    /// Where drawing starts: equal seeds give equal texts, also when an item runs a second time.
    pub(crate) seed: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    max_tokens: Option<u32>,
    temperature: f32,
    seed: u64,
}

impl Parameters {
    /// What an item that says nothing gets.
    pub(crate) fn of_manifest(spec: &GenerationSpec) -> Self {
        Self { max_tokens: spec.max_tokens, temperature: 0.0, seed: 0 }
    }

    /// Reads a second element. Empty: nothing is said.
    ///
    /// # Errors
    /// Why it cannot be used, for the client.
    pub(crate) fn read(json: &[u8], spec: &GenerationSpec) -> Result<Self, String> {
        if json.is_empty() {
            return Ok(Self::of_manifest(spec));
        }
        let refused = |why: &dyn std::fmt::Display| {
            format!("the second element is no object of known parameters: {why}")
        };
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(refused(&"it does not begin with a brace")); // the reader would take a list by position
        }
        let given: Given = serde_json::from_slice(json).map_err(|error| refused(&error))?;
        let max_tokens = given.max_tokens.unwrap_or(spec.max_tokens);
        if !(1..=spec.max_tokens_limit).contains(&max_tokens) {
            return Err(format!("`max_tokens` must be 1 to {}, it is {max_tokens}", spec.max_tokens_limit));
        }
        if !(0.0..=2.0).contains(&given.temperature) {
            return Err(format!("`temperature` must be 0 to 2, it is {}", given.temperature));
        }
        Ok(Self { max_tokens, temperature: given.temperature, seed: given.seed })
    }
}

/// The elements of an item's bytes: the prompt, and the parameters if there are any.
///
/// # Errors
/// Another number of elements.
pub(crate) fn elements(mut item: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let mut elements = [&[] as &[u8]; 2];
    let mut count = 0;
    while let Some((prefix, rest)) = item.split_first_chunk::<4>() {
        let element = rest.split_at_checked(u32::from_le_bytes(*prefix) as usize);
        let (Some((element, rest)), Some(place)) = (element, elements.get_mut(count)) else {
            count = usize::MAX;
            break;
        };
        *place = element;
        count += 1;
        item = rest;
    }
    match count {
        1 | 2 => Ok((elements[0], elements[1])),
        _ => Err("an item is a prompt, or a prompt and its parameters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> GenerationSpec {
        GenerationSpec { max_tokens: 16, max_tokens_limit: 64, max_rows: 4, stop_tokens: vec![1] }
    }

    #[test]
    fn absent_parameters_are_the_manifest_s() {
        let expected = Parameters { max_tokens: 16, temperature: 0.0, seed: 0 };
        assert_eq!(Parameters::read(b"", &spec()), Ok(expected));
        assert_eq!(Parameters::read(b"{}", &spec()), Ok(expected));
        let read = Parameters::read(br#"{"max_tokens":3,"temperature":0.5,"seed":9}"#, &spec());
        assert_eq!(read, Ok(Parameters { max_tokens: 3, temperature: 0.5, seed: 9 }));
    }

    #[test]
    fn impossible_parameters_are_named() {
        let cases: [(&[u8], &str); 6] = [
            (br#"{"max_tokens":65}"#, "max_tokens"),
            (br#"{"max_tokens":0}"#, "max_tokens"),
            (br#"{"temperature":-1}"#, "temperature"),
            (br#"{"top_p":0.5}"#, "top_p"),
            (b"[]", "no object"),
            (b"\xff", "no object"),
        ];
        for (json, expected) in cases {
            let error = Parameters::read(json, &spec()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_item_has_one_element_or_two() {
        let item = |elements: &[&[u8]]| -> Vec<u8> {
            let prefixed = |element: &&[u8]| {
                [u32::try_from(element.len()).unwrap().to_le_bytes().as_slice(), element].concat()
            };
            elements.iter().flat_map(prefixed).collect()
        };
        assert_eq!(elements(&item(&[b"hi"])), Ok((b"hi".as_slice(), b"".as_slice())));
        assert_eq!(elements(&item(&[b"hi", b"{}"])), Ok((b"hi".as_slice(), b"{}".as_slice())));
        assert!(elements(&item(&[])).is_err());
        assert!(elements(&item(&[b"a", b"b", b"c"])).is_err());
        assert!(elements(b"\x09\0\0\0short").is_err());
    }
}
