//! Writes an answer: JSON, or JSON followed by binary data, into one buffer.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use axum::response::Response;

use super::encoding::Encoding;
use super::framing::INFERENCE_HEADER_CONTENT_LENGTH;
use super::json_output;
use super::validate::{AnswerForm, WantedOutput};
use crate::http::errors::{ApiError, Code};
use crate::inference::{Completed, OutputTensor, Receipt};
use crate::registry::ServedModel;

/// An answer's bytes, ready for the connection.
pub(in crate::http) struct Answer {
    body: Vec<u8>,
    /// Bytes of JSON, if binary data follows.
    json_bytes: Option<usize>,
    encoding: Option<Encoding>,
}

/// Writes the answer to a request whose items all have values. `so_far`: time since the request's arrival.
pub(in crate::http) fn write(
    model: &ServedModel,
    form: &AnswerForm,
    completed: &Completed,
    items: u32,
    so_far: Duration,
) -> Result<Answer, ApiError> {
    let mut body = Vec::with_capacity(estimate(form, completed));
    body.extend_from_slice(b"{\"model_name\":");
    json_output::push_string(&mut body, &model.name);
    body.extend_from_slice(b",\"model_version\":");
    json_output::push_string(&mut body, &model.manifest.version);
    if let Some(id) = &form.id {
        body.extend_from_slice(b",\"id\":");
        json_output::push_string(&mut body, id);
    }
    if form.receipt {
        push_receipt(&mut body, &completed.receipt, so_far);
    }
    body.extend_from_slice(b",\"outputs\":[");
    for (position, wanted) in form.outputs.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        let name = &model.manifest.outputs[wanted.index].name;
        push_output(&mut body, name, *wanted, tensor(completed, *wanted)?, items)?;
    }
    body.extend_from_slice(b"]}");
    let json_bytes = form.outputs.iter().any(|wanted| wanted.binary).then_some(body.len());
    for wanted in form.outputs.iter().filter(|wanted| wanted.binary) {
        body.extend_from_slice(&tensor(completed, *wanted)?.data);
    }
    Ok(Answer { body, json_bytes, encoding: None })
}

impl Answer {
    /// JSON alone.
    pub(in crate::http) fn json(body: Vec<u8>) -> Self {
        Self { body, json_bytes: None, encoding: None }
    }

    /// The body alone.
    pub(in crate::http) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Bytes of the body.
    pub(in crate::http) fn len(&self) -> usize {
        self.body.len()
    }

    /// Compresses the body.
    pub(in crate::http) fn compress(&mut self, encoding: Encoding) {
        if let Cow::Owned(compressed) = encoding.compress(&self.body) {
            self.body = compressed;
            self.encoding = Some(encoding);
        }
    }

    /// As an HTTP response.
    pub(in crate::http) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        let headers = response.headers_mut();
        let content_type = match self.json_bytes {
            Some(json_bytes) => {
                headers.insert(INFERENCE_HEADER_CONTENT_LENGTH, HeaderValue::from(json_bytes));
                "application/octet-stream"
            }
            None => "application/json",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(encoding) = self.encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}

fn tensor(completed: &Completed, wanted: WantedOutput) -> Result<&OutputTensor, ApiError> {
    completed
        .outputs
        .get(wanted.index)
        .ok_or_else(|| ApiError::new(Code::Internal, "the answer lacks an output"))
}

/// Room that is enough in most cases.
fn estimate(form: &AnswerForm, completed: &Completed) -> usize {
    let tensors: usize = form
        .outputs
        .iter()
        .filter_map(|wanted| Some((wanted, completed.outputs.get(wanted.index)?)))
        .map(|(wanted, tensor)| 160 + if wanted.binary { tensor.data.len() } else { tensor.data.len() * 5 })
        .sum();
    160 + tensors + if form.receipt { 320 } else { 0 }
}

fn push_output(
    body: &mut Vec<u8>,
    name: &str,
    wanted: WantedOutput,
    tensor: &OutputTensor,
    items: u32,
) -> Result<(), ApiError> {
    body.extend_from_slice(b"{\"name\":");
    json_output::push_string(body, name);
    body.extend_from_slice(b",\"datatype\":\"");
    body.extend_from_slice(tensor.datatype.name().as_bytes());
    body.extend_from_slice(b"\",\"shape\":[");
    json_output::push_integer(body, items);
    for &dimension in &tensor.item_shape {
        body.push(b',');
        json_output::push_integer(body, dimension);
    }
    if wanted.binary {
        body.extend_from_slice(b"],\"parameters\":{\"binary_data_size\":");
        json_output::push_integer(body, tensor.data.len());
        body.extend_from_slice(b"}}");
    } else {
        body.extend_from_slice(b"],\"data\":[");
        json_output::push_elements(body, tensor.datatype, &tensor.data).map_err(|unfit| {
            let text = format!("output `{name}` {unfit}, which JSON cannot carry; ask for it as binary data");
            ApiError::new(Code::UnrepresentableOutput, text)
        })?;
        body.extend_from_slice(b"]}");
    }
    Ok(())
}

fn push_receipt(body: &mut Vec<u8>, receipt: &Receipt, so_far: Duration) {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let times = [
        (&b",\"parameters\":{\"penstock_queue_wait_us\":"[..], receipt.queue_wait),
        (b",\"penstock_invoke_us\":", receipt.invoke),
        (b",\"penstock_compute_us\":", receipt.compute),
        (
            b",\"penstock_gateway_us\":",
            so_far.saturating_sub(receipt.queue_wait).saturating_sub(receipt.invoke),
        ),
    ];
    for (key, time) in times {
        body.extend_from_slice(key);
        json_output::push_integer(body, micros(time));
    }
    body.extend_from_slice(b",\"penstock_batch_items\":");
    json_output::push_integer(body, receipt.batch_items);
    body.extend_from_slice(if receipt.cold {
        b",\"penstock_cold\":true"
    } else {
        b",\"penstock_cold\":false"
    });
    body.extend_from_slice(b",\"penstock_cost_usd\":");
    json_output::push_float(body, if receipt.cost_usd.is_finite() { receipt.cost_usd } else { 0.0 });
    body.push(b'}');
}
