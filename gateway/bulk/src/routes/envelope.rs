//! A line of a batch file: `{"custom_id", "method", "url", "body"}` in, `{"id", "custom_id", "response", "error"}` out. Bodies are the
//! endpoint's own matter ([`BodyCodec`]).

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Endpoint;
use crate::{
    AnsweredLine, AnsweredTensor, DecodedLine, JobId, LineCodec, LineFault, LineTensor, push_string,
};

/// Longest `custom_id`, bytes.
const MAX_ID_BYTES: usize = 512;

/// Reads and writes the bodies of one endpoint's calls, for one model. Deterministic, like [`LineCodec`].
pub trait BodyCodec: Send + Sync + 'static {
    /// Reads a body.
    ///
    /// # Errors
    /// Why the live endpoint would refuse it.
    fn read(&self, body: &[u8]) -> Result<BodyRequest, BodyFault>;

    /// Writes the answer's body, a JSON object.
    ///
    /// # Errors
    /// What JSON cannot carry.
    fn write(&self, form: &[u8], outputs: &[AnsweredTensor], items: u32) -> Result<Vec<u8>, BodyFault>;
}

/// A body that fits its model.
#[derive(Clone, Debug, Default)]
pub struct BodyRequest {
    /// Items, at least 1.
    pub items: u32,
    /// One tensor per input of the manifest, in the manifest's order.
    pub inputs: Vec<LineTensor>,
    /// What [`BodyCodec::write`] needs to know of the request.
    pub form: Vec<u8>,
}

/// A body that gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyFault {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// The codec of a job's lines.
pub(super) struct Envelope {
    url: String,
    /// Begins the ids of answers; the line's number follows.
    prefix: String,
    body: Arc<dyn BodyCodec>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Envelope {
    pub(super) fn new(endpoint: &Endpoint, job: &JobId, body: Arc<dyn BodyCodec>) -> Self {
        let name = job.as_str();
        let short = &name[name.len().saturating_sub(16)..];
        Self { url: endpoint.path(), prefix: format!("batch_req_{short}_"), body }
    }
}

impl LineCodec for Envelope {
    fn decode(&self, _number: u64, line: &[u8]) -> Result<DecodedLine, LineFault> {
        let line: Line<'_> = serde_json::from_slice(line)
            .map_err(|error| fault("invalid_json_line", clip(error.to_string())))?;
        let id = &*line.custom_id;
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            let text = format!("`custom_id` must have 1 to {MAX_ID_BYTES} bytes");
            return Err(fault("invalid_custom_id", text));
        }
        if line.method != "POST" {
            return Err(fault("invalid_method", "`method` must be `POST`".to_owned()));
        }
        if line.url != self.url {
            return Err(fault(
                "mismatched_url",
                format!("`url` must be `{}`, the batch's endpoint", self.url),
            ));
        }
        let body = self
            .body
            .read(line.body.get().as_bytes())
            .map_err(|error| fault(error.code, format!("`body`: {}", clip(error.message))))?;
        Ok(DecodedLine {
            id: Some(id.to_owned()),
            items: body.items,
            inputs: body.inputs,
            form: body.form.into(),
        })
    }

    fn encode(&self, answered: &AnsweredLine<'_>, out: &mut Vec<u8>) -> Result<(), LineFault> {
        let body = self
            .body
            .write(answered.form, answered.outputs, answered.items)
            .map_err(|error| fault(error.code, error.message))?;
        self.open(answered.number, answered.id, out);
        out.extend_from_slice(b",\"response\":{\"status_code\":200,\"request_id\":\"");
        self.push_id(answered.number, out);
        out.extend_from_slice(b"\",\"body\":");
        out.extend_from_slice(&body);
        out.extend_from_slice(b"},\"error\":null}");
        Ok(())
    }

    fn encode_fault(&self, number: u64, id: &str, fault: &LineFault, out: &mut Vec<u8>) {
        self.open(number, id, out);
        out.extend_from_slice(b",\"response\":null,\"error\":{\"code\":");
        push_string(out, fault.code);
        out.extend_from_slice(b",\"message\":");
        push_string(out, &fault.message);
        out.extend_from_slice(format!(",\"line\":{number}}}}}").as_bytes());
    }
}

impl Envelope {
    fn open(&self, number: u64, id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":\"");
        self.push_id(number, out);
        out.extend_from_slice(b"\",\"custom_id\":");
        push_string(out, id);
    }

    fn push_id(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(number.to_string().as_bytes());
    }
}

fn fault(code: &'static str, message: String) -> LineFault {
    LineFault { code, message }
}

/// A parser's message may quote the line.
fn clip(mut text: String) -> String {
    if text.len() > 300 {
        text.truncate(text.floor_char_boundary(300));
        text.push('…');
    }
    text
}

/// The model that the first line of a file for `/v1/embeddings` names.
pub(super) fn model_of(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer {
        body: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        model: String,
    }
    serde_json::from_slice::<Outer>(line).ok().map(|outer| outer.body.model)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    struct Numbers;

    impl BodyCodec for Numbers {
        fn read(&self, body: &[u8]) -> Result<BodyRequest, BodyFault> {
            let number: u8 = serde_json::from_slice(body)
                .map_err(|error| BodyFault { code: "invalid_request", message: error.to_string() })?;
            Ok(BodyRequest { items: 1, form: vec![number], ..BodyRequest::default() })
        }

        fn write(&self, form: &[u8], _: &[AnsweredTensor], _: u32) -> Result<Vec<u8>, BodyFault> {
            Ok(json!({ "twice": 2 * u32::from(form[0]) }).to_string().into_bytes())
        }
    }

    fn envelope() -> Envelope {
        Envelope::new(&Endpoint::Embeddings, &JobId::random().unwrap(), Arc::new(Numbers))
    }

    fn line(custom_id: &str, method: &str, url: &str, body: &Value) -> Vec<u8> {
        json!({ "custom_id": custom_id, "method": method, "url": url, "body": body }).to_string().into_bytes()
    }

    #[test]
    fn an_answer_names_its_line_and_carries_the_body() {
        let envelope = envelope();
        let decoded = envelope.decode(7, &line("q\"1", "POST", "/v1/embeddings", &json!(21))).unwrap();
        assert_eq!((decoded.id.as_deref(), decoded.items), (Some("q\"1"), 1));
        let answered = AnsweredLine { number: 7, id: "q\"1", items: 1, form: &decoded.form, outputs: &[] };
        let mut out = Vec::new();
        envelope.encode(&answered, &mut out).unwrap();
        let answer: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(answer["custom_id"], "q\"1");
        assert!(answer["id"].as_str().unwrap().starts_with("batch_req_"));
        assert_eq!(answer["response"]["status_code"], 200);
        assert_eq!((&answer["response"]["body"], &answer["error"]), (&json!({ "twice": 42 }), &Value::Null));
    }

    #[test]
    fn a_fault_names_its_line_number_and_reason() {
        let mut out = Vec::new();
        envelope().encode_fault(
            9,
            "q9",
            &LineFault { code: "model_failed", message: "no".to_owned() },
            &mut out,
        );
        let fault: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&fault["custom_id"], &fault["response"]), (&json!("q9"), &Value::Null));
        assert_eq!(fault["error"], json!({ "code": "model_failed", "message": "no", "line": 9 }));
    }

    #[test]
    fn what_is_no_call_of_the_endpoint_is_refused_by_its_field() {
        let url = "/v1/embeddings";
        for (line, code, text) in [
            (line("a", "GET", url, &json!(1)), "invalid_method", "POST"),
            (line("a", "POST", "/v1/chat/completions", &json!(1)), "mismatched_url", url),
            (line("", "POST", url, &json!(1)), "invalid_custom_id", "custom_id"),
            (line(&"x".repeat(600), "POST", url, &json!(1)), "invalid_custom_id", "custom_id"),
            (line("a", "POST", url, &json!("x")), "invalid_request", "`body`: invalid type"),
            (b"{\"custom_id\":\"a\"".to_vec(), "invalid_json_line", "EOF"),
            (b"{\"method\":\"POST\",\"url\":\"u\",\"body\":1}".to_vec(), "invalid_json_line", "`custom_id`"),
        ] {
            let fault = envelope().decode(1, &line).unwrap_err();
            assert_eq!(fault.code, code, "{}", fault.message);
            assert!(fault.message.contains(text), "{}", fault.message);
        }
    }

    #[test]
    fn the_first_line_names_the_model() {
        assert_eq!(model_of(br#"{"custom_id":"a","body":{"input":"x","model":"m"}}"#).as_deref(), Some("m"));
        assert_eq!(model_of(b"{}"), None);
    }
}
