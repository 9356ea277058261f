//! Requests and answers without HTTP around them: what a line of a bulk job holds, read and written as the live routes do.
//!
//! Deliberately absent: binary tensor data, time-outs and priorities (a job has its own), and who runs the items in between.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::HttpConfig;
use super::errors::{ApiError, Code};
use super::infer::framing::Framing;
use super::infer::{request, response, validate};
use super::openai::{Embedder, EmbeddingsRequest, OpenAiError, write_embeddings};
use crate::inference::{Completed, InputTensor, OutputTensor};
use crate::registry::ServedModel;

/// A request that fits its model.
#[derive(Clone, Debug)]
pub struct LineRequest {
    /// Items, at least 1.
    pub items: u32,
    /// One tensor per input of the manifest, in the manifest's order.
    pub inputs: Vec<InputTensor>,
    /// How the answer is wanted, for the function that writes it; opaque, may be kept over restarts.
    pub form: Vec<u8>,
}

/// A line that gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Status that the live route would have answered with.
    pub status: u16,
    /// For programs: the codes of `docs/http.md`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl From<ApiError> for LineError {
    fn from(error: ApiError) -> Self {
        Self {
            status: error.code.status().as_u16(),
            code: error.code.name(),
            message: error.message.into_owned(),
        }
    }
}

impl From<OpenAiError> for LineError {
    fn from(error: OpenAiError) -> Self {
        Self { status: error.status(), code: error.code(), message: error.message().to_owned() }
    }
}

#[derive(Serialize, Deserialize)]
struct InferForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Positions of the wanted outputs in the manifest.
    outputs: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct EmbeddingsForm {
    base64: bool,
    tokens: u64,
}

/// Reads the body of an inference request, all of it JSON.
///
/// # Errors
/// What the live route would refuse it for; binary data too, since a line has no place for them.
pub fn read_infer(body: &[u8], model: &ServedModel, config: &HttpConfig) -> Result<LineRequest, LineError> {
    let read = request::parse(body, config)?;
    let accepted =
        validate::fit(read, &Bytes::new(), &Framing::default(), model.id, &model.manifest, config)?;
    let form = accepted.answer;
    if form.outputs.iter().any(|wanted| wanted.binary) {
        let text = "binary outputs have no place in a line: ask for JSON";
        return Err(ApiError::new(Code::InvalidRequest, text).into());
    }
    let outputs = form.outputs.iter().map(|wanted| wanted.index).collect();
    let form = InferForm { id: form.id, outputs };
    Ok(LineRequest {
        items: accepted.submission.items,
        inputs: accepted.submission.inputs,
        form: keep(&form)?,
    })
}

/// Writes the body of an inference answer. `outputs`: one per output of the manifest, holding all `items`.
///
/// # Errors
/// Values that JSON cannot carry.
pub fn write_infer(
    model: &ServedModel,
    form: &[u8],
    outputs: Vec<OutputTensor>,
    items: u32,
) -> Result<Vec<u8>, LineError> {
    let form: InferForm = kept(form)?;
    let wanted = |index: usize| validate::WantedOutput { index, binary: false };
    let outputs_wanted = form.outputs.into_iter().map(wanted).collect();
    let form = validate::AnswerForm { id: form.id, outputs: outputs_wanted, receipt: false };
    let completed = Completed { outputs, ..Completed::default() };
    Ok(response::write(model, &form, &completed, items, std::time::Duration::ZERO)?.into_body())
}

/// Reads the body of an embeddings call, and counts its tokens: may take a while per text.
///
/// # Errors
/// What the live route would refuse it for; another model than this one.
pub fn read_embeddings(
    body: &[u8],
    model: &ServedModel,
    config: &HttpConfig,
) -> Result<LineRequest, LineError> {
    let request = EmbeddingsRequest::parse(body)?;
    if request.model != model.name {
        let text =
            format!("`model` is not `{}` as in the lines before it: one job runs one model", model.name);
        return Err(OpenAiError::invalid(Some("model"), text).into());
    }
    let items = request.texts.len();
    if items > config.max_items {
        let text = format!("`input` has {items} texts, at most {} are taken", config.max_items);
        return Err(ApiError::new(Code::TooLarge, text).into());
    }
    let embedder = Embedder::fit(model, &request)?;
    let tokens = model.tokens.count(request.texts.iter());
    let form = keep(&EmbeddingsForm { base64: request.base64, tokens })?;
    Ok(LineRequest { items, inputs: vec![embedder.input(&request.texts)], form })
}

/// Writes the body of an embeddings answer.
///
/// # Errors
/// Values that JSON cannot carry.
pub fn write_embeddings_body(
    model: &ServedModel,
    form: &[u8],
    output: &OutputTensor,
    items: u32,
) -> Result<Vec<u8>, LineError> {
    let form: EmbeddingsForm = kept(form)?;
    Ok(write_embeddings(&model.name, form.base64, output, items, form.tokens)?)
}

fn keep<T: Serialize>(form: &T) -> Result<Vec<u8>, LineError> {
    serde_json::to_vec(form).map_err(|_| ApiError::new(Code::Internal, "internal error").into())
}

fn kept<'de, T: Deserialize<'de>>(form: &'de [u8]) -> Result<T, LineError> {
    serde_json::from_slice(form).map_err(|_| ApiError::new(Code::Internal, "internal error").into())
}
