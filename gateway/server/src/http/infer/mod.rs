//! `POST …/infer`: from a request's bytes to its answer's.

pub(super) mod body;
mod context;
mod elements;
mod encoding;
mod fields;
pub(super) mod framing;
mod json_data;
pub(super) mod json_output;
mod parameters;
pub(super) mod request;
pub(super) mod response;
mod tail;
pub(super) mod validate;
pub(super) mod watch;

#[cfg(test)]
mod codec_properties;

use std::sync::Arc;

use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use self::body::HeldBody;
use self::framing::Framing;
use self::validate::{Accepted, AnswerForm};
use self::watch::Watch;
use super::HttpConfig;
use super::HttpState;
use super::errors::{ApiError, Code};
use super::metadata::find_model;
use crate::inference::Inference;
use crate::registry::ServedModel;

/// Bytes beyond which reading or writing a tensor would keep other connections of the same thread waiting for long.
pub(super) const HEAVY_BYTES: usize = 256 * 1024;

const ROUTE: &str = "/v2/models/{model}/infer";
const ROUTE_WITH_VERSION: &str = "/v2/models/{model}/versions/{version}/infer";

/// Answers one inference request. Dropping the future cancels it.
pub(crate) async fn infer<I, B>(
    state: &HttpState<I>,
    name: &str,
    version: Option<&str>,
    head: &Parts,
    body: B,
) -> Response
where
    I: Inference,
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let route = if version.is_none() { ROUTE } else { ROUTE_WITH_VERSION };
    let mut watch = Watch::start(&*state.telemetry, &state.tracer, head, route);
    let outcome = match find_model(&state.registry.load(), name, version) {
        Ok(model) => {
            watch.model(Arc::clone(&model));
            run(state, model, head, body, &mut watch).await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(response) => watch.succeeded(response),
        Err(error) => {
            let code = error.code;
            watch.failed(code, error.into_response())
        }
    }
}

async fn run<I, B>(
    state: &HttpState<I>,
    model: Arc<ServedModel>,
    head: &Parts,
    body: B,
    watch: &mut Watch<'_>,
) -> Result<Response, ApiError>
where
    I: Inference,
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let framing = Framing::read(&head.headers)?;
    let answer_encoding = framing.answer_encoding;
    let held = body::read(body, &state.config, &state.body_bytes).await?;
    let heavy = framing.encoding.is_some() || held.bytes.len() > HEAVY_BYTES;
    let (accepted, held) = if heavy {
        let (config, model) = (Arc::clone(&state.config), Arc::clone(&model));
        state.aside(move || decode(held, &framing, &model, &config)).await?
    } else {
        decode(held, &framing, &model, &state.config)
    }?;
    let Accepted { mut submission, answer } = accepted;
    let items = submission.items;
    watch.decoded(items);
    submission.trace = watch.trace();
    let completed = state.inference.infer(submission).await;
    drop(held);
    watch.answered(completed.as_ref().ok().map(|completed| completed.receipt));
    let with_id = |error: ApiError, form: &AnswerForm| ApiError { id: form.id.clone(), ..error };
    let completed = completed.map_err(|error| with_id(error.into(), &answer))?;
    if !completed.failed.is_empty() {
        return Err(with_id(ApiError::from_failed_items(items, &completed.failed), &answer));
    }
    let so_far = watch.so_far();
    let min_compressed_bytes = state.config.min_compressed_bytes;
    let is_heavy = completed.outputs.iter().map(|output| output.data.len()).sum::<usize>() > HEAVY_BYTES;
    let encode = move || -> Result<_, ApiError> {
        let mut written = response::write(&model, &answer, &completed, items, so_far)
            .map_err(|error| with_id(error, &answer))?;
        if let Some(encoding) = answer_encoding
            && written.len() >= min_compressed_bytes
        {
            written.compress(encoding);
        }
        Ok(written)
    };
    let answer = if is_heavy { state.aside(encode).await? } else { encode() };
    Ok(answer?.into_response())
}

/// Reads and checks a body. Gives it back, for as long as its bytes are in use it counts as held.
fn decode(
    mut held: HeldBody,
    framing: &Framing,
    model: &ServedModel,
    config: &HttpConfig,
) -> Result<(Accepted, HeldBody), ApiError> {
    if let Some(encoding) = framing.encoding {
        let plain = encoding.decompress(&held.bytes, config.max_decoded_bytes)?;
        held.replace(plain.into(), config)?;
    }
    let accepted = match framing.json_bytes {
        Some(0) => validate::fit_raw(held.bytes.clone(), framing, model.id, &model.manifest, config)?,
        json_bytes => {
            let length = held.bytes.len();
            let json_bytes = json_bytes.unwrap_or(length);
            if json_bytes > length {
                let text = format!(
                    "header `Inference-Header-Content-Length` is {json_bytes}, the body has {length} bytes"
                );
                return Err(ApiError::new(Code::InvalidRequest, text));
            }
            let request = request::parse(&held.bytes[..json_bytes], config)?;
            let tail = held.bytes.slice(json_bytes..);
            validate::fit(request, &tail, framing, model.id, &model.manifest, config)?
        }
    };
    Ok((accepted, held))
}

impl<I: Inference> HttpState<I> {
    /// Runs work that takes long without holding up this thread's other connections; as many at a time as there are cores.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let internal = || ApiError::new(Code::Internal, "internal error");
        let _permit = self.heavy_work.acquire().await.map_err(|_closed| internal())?;
        tokio::task::spawn_blocking(work).await.map_err(|_panicked| internal())
    }
}
