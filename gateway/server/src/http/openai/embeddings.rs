//! `POST /v1/embeddings`: from a call's bytes to its answer's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::error::OpenAiError;
use super::request::EmbeddingsRequest;
use super::{Embedder, write_embeddings};
use crate::http::HttpState;
use crate::http::errors::{ApiError, Code};
use crate::http::infer::HEAVY_BYTES;
use crate::http::infer::body::{self, HeldBody};
use crate::http::infer::framing::Framing;
use crate::http::infer::response::Answer;
use crate::http::infer::watch::Watch;
use crate::http::metadata::find_model;
use crate::inference::{Inference, Submission};
use crate::registry::ServedModel;

const ROUTE: &str = "/v1/embeddings";

/// `POST /v1/embeddings`
pub(in crate::http) async fn route<I: Inference>(
    State(state): State<HttpState<I>>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let mut watch = Watch::start(&*state.telemetry, &state.tracer, &head, ROUTE);
    match run(&state, &head, body, &mut watch).await {
        Ok(response) => watch.succeeded(response),
        Err(error) => {
            let code = error.code;
            watch.failed(code, error.into_response())
        }
    }
}

/// A call that fits its model.
struct Accepted {
    request: EmbeddingsRequest,
    model: Arc<ServedModel>,
    submission: Submission,
    /// Counted as held while it is in use.
    _held: HeldBody,
}

async fn run<I, B>(
    state: &HttpState<I>,
    head: &Parts,
    body: B,
    watch: &mut Watch<'_>,
) -> Result<Response, OpenAiError>
where
    I: Inference,
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let framing = Framing::read(&head.headers)?;
    let answer_encoding = framing.answer_encoding;
    let held = body::read(body, &state.config, &state.body_bytes).await?;
    let is_heavy = framing.encoding.is_some() || held.bytes.len() > HEAVY_BYTES;
    let accepted = if is_heavy {
        let state_here = state.clone();
        state.aside(move || decode(held, &framing, &state_here)).await?
    } else {
        decode(held, &framing, state)
    };
    let Accepted { request, model, mut submission, _held } = accepted?;
    watch.model(Arc::clone(&model));
    let items = submission.items;
    watch.decoded(items);
    submission.trace = watch.trace();
    let (completed, tokens) = tokio::join!(state.inference.infer(submission), count(state, &model, &request));
    watch.answered(completed.as_ref().ok().map(|completed| completed.receipt));
    let completed = completed.map_err(ApiError::from)?;
    if !completed.failed.is_empty() {
        return Err(ApiError::from_failed_items(items, &completed.failed).into());
    }
    let tokens = tokens?;
    let min_compressed_bytes = state.config.min_compressed_bytes;
    let is_heavy = completed.outputs.iter().map(|output| output.data.len()).sum::<usize>() > HEAVY_BYTES;
    let encode = move || -> Result<Answer, OpenAiError> {
        let lacks = || ApiError::new(Code::Internal, "the answer lacks an output");
        let output = completed.outputs.first().ok_or_else(lacks)?;
        let written = write_embeddings(&model.name, request.base64, output, items, tokens)?;
        let mut answer = Answer::json(written);
        if let Some(encoding) = answer_encoding
            && answer.len() >= min_compressed_bytes
        {
            answer.compress(encoding);
        }
        Ok(answer)
    };
    let answer = if is_heavy { state.aside(encode).await? } else { encode() };
    Ok(answer?.into_response())
}

fn decode<I: Inference>(
    mut held: HeldBody,
    framing: &Framing,
    state: &HttpState<I>,
) -> Result<Accepted, OpenAiError> {
    let config = &state.config;
    if let Some(encoding) = framing.encoding {
        let plain = encoding.decompress(&held.bytes, config.max_decoded_bytes)?;
        held.replace(plain.into(), config)?;
    }
    let request = EmbeddingsRequest::parse(&held.bytes)?;
    let items = request.texts.len();
    if items > config.max_items {
        let text = format!("`input` has {items} texts, at most {} are taken", config.max_items);
        return Err(OpenAiError::of(Code::TooLarge, "input", text));
    }
    let model = find_model(&state.registry.load(), &request.model, None)?;
    let embedder = Embedder::fit(&model, &request)?;
    let submission = Submission {
        model: model.id,
        items,
        inputs: vec![embedder.input(&request.texts)],
        priority: config.default_priority,
        timeout: framing.timeout.map(|timeout| timeout.min(config.max_timeout)),
        trace: None,
    };
    Ok(Accepted { request, model, submission, _held: held })
}

/// Tokens of all inputs, counted aside.
async fn count<I: Inference>(
    state: &HttpState<I>,
    model: &Arc<ServedModel>,
    request: &EmbeddingsRequest,
) -> Result<u64, OpenAiError> {
    if !model.tokens.counts() {
        return Ok(0);
    }
    let (model, texts) = (Arc::clone(model), request.texts.clone());
    Ok(state.aside(move || model.tokens.count(texts.iter())).await?)
}
