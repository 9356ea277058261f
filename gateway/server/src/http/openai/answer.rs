//! The answer of `POST /v1/embeddings`.

use std::borrow::Cow;

use workers_protocol::Datatype;

use super::error::OpenAiError;
use crate::http::errors::{ApiError, Code};
use crate::http::infer::json_output::{push_elements, push_integer, push_string};
use crate::inference::OutputTensor;

/// Writes the answer for `items` vectors that `output` holds, one after the other.
///
/// `base64`: vectors as base64 of little-endian FP32, as OpenAI's own client asks by default. `tokens`: what the model's tokenizer made of
/// all inputs.
///
/// # Errors
/// A number that JSON cannot carry (NaN, infinity), or data that do not hold `items` vectors.
pub fn write_embeddings(
    model: &str,
    base64: bool,
    output: &OutputTensor,
    items: u32,
    tokens: u64,
) -> Result<Vec<u8>, OpenAiError> {
    let internal =
        || OpenAiError::from(ApiError::new(Code::Internal, "the answer does not hold whole vectors"));
    let size = output.data.len() / items.max(1) as usize;
    if size == 0 || size * items as usize != output.data.len() {
        return Err(internal());
    }
    let mut body = Vec::with_capacity(160 + items as usize * (64 + size * if base64 { 2 } else { 4 }));
    body.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (index, vector) in (0..items).zip(output.data.chunks_exact(size)) {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"object\":\"embedding\",\"index\":");
        push_integer(&mut body, index);
        body.extend_from_slice(b",\"embedding\":");
        if base64 {
            let floats = as_fp32(output.datatype, vector).ok_or_else(internal)?;
            body.push(b'"');
            body.extend_from_slice(base64_simd::STANDARD.encode_to_string(&floats).as_bytes());
            body.extend_from_slice(b"\"}");
        } else {
            body.push(b'[');
            push_elements(&mut body, output.datatype, vector).map_err(|unfit| {
                let text =
                    format!("the vector of input {index} {unfit}, which JSON cannot carry; ask for base64");
                OpenAiError::of(Code::UnrepresentableOutput, "encoding_format", text)
            })?;
            body.extend_from_slice(b"]}");
        }
    }
    body.extend_from_slice(b"],\"model\":");
    push_string(&mut body, model);
    body.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
    push_integer(&mut body, tokens);
    body.extend_from_slice(b",\"total_tokens\":");
    push_integer(&mut body, tokens);
    body.extend_from_slice(b"}}");
    Ok(body)
}

/// A vector as little-endian FP32; `None`: it is neither FP32 nor FP64.
#[expect(clippy::wildcard_enum_match_arm, reason = "models with other vectors do not embed")]
fn as_fp32(datatype: Datatype, vector: &[u8]) -> Option<Cow<'_, [u8]>> {
    match datatype {
        Datatype::Fp32 => Some(Cow::Borrowed(vector)),
        Datatype::Fp64 => {
            let (doubles, _rest) = vector.as_chunks::<8>();
            #[expect(clippy::cast_possible_truncation, reason = "the format has FP32 only")]
            let narrow = |double: &[u8; 8]| (f64::from_le_bytes(*double) as f32).to_le_bytes();
            Some(Cow::Owned(doubles.iter().flat_map(narrow).collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(numbers: &[f32]) -> OutputTensor {
        OutputTensor {
            datatype: Datatype::Fp32,
            item_shape: [2].into_iter().collect(),
            data: numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>().into(),
        }
    }

    #[test]
    fn both_encodings_carry_the_same_bits() {
        let output = vectors(&[1.5, -0.1, f32::MIN_POSITIVE, 3e38]);
        let text: serde_json::Value =
            serde_json::from_slice(&write_embeddings("m", false, &output, 2, 7).unwrap()).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "JSON numbers were FP32")]
        let float = |value: &serde_json::Value| value.as_f64().unwrap() as f32;
        assert_eq!(
            text["data"][1]["embedding"].as_array().unwrap().iter().map(float).collect::<Vec<_>>(),
            [f32::MIN_POSITIVE, 3e38]
        );
        assert_eq!(
            (&text["usage"]["total_tokens"], &text["object"], &text["model"]),
            (&7.into(), &"list".into(), &"m".into())
        );
        let binary: serde_json::Value =
            serde_json::from_slice(&write_embeddings("m", true, &output, 2, 7).unwrap()).unwrap();
        let encoded = binary["data"][0]["embedding"].as_str().unwrap();
        assert_eq!(base64_simd::STANDARD.decode_to_vec(encoded).unwrap(), &output.data[..8]);
    }

    #[test]
    fn what_json_cannot_carry_is_refused_and_base64_carries_it() {
        let output = vectors(&[1.0, f32::NAN]);
        assert_eq!(write_embeddings("m", false, &output, 1, 0).unwrap_err().status(), 422);
        assert!(write_embeddings("m", true, &output, 1, 0).is_ok());
        assert_eq!(write_embeddings("m", true, &output, 3, 0).unwrap_err().status(), 500);
    }
}
