//! `/v1/batches`.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::auth::owner;
use super::envelope::Envelope;
use super::error::RouteError;
use super::page::{Page, list as page_object};
use super::{Api, Endpoint, NotServed, disk, envelope, files, objects, publish};
use crate::estimate::sketch;
use crate::{
    BulkError, DataFormat, Engine, FileId, InputSpec, Job, JobId, JobSpec, JobState, Location, OutputSpec,
    Owner, StoredFile, unix_millis,
};

type Answer = Result<Json<Value>, RouteError>;

/// Bytes of a file's first line that are read for the model's name.
const MAX_FIRST_LINE_BYTES: u64 = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// `POST /v1/batches`
pub(super) async fn create(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Answer {
    let owner = owner(&headers);
    let asked: Create =
        serde_json::from_slice(&body).map_err(|error| RouteError::invalid("body", error.to_string()))?;
    let spec = plan(&api, &owner, asked).await?;
    let job = api.store.create_job(&owner, &spec).await?;
    tracing::info!(job = %job.id, model = %spec.model, endpoint = %spec.kind, "a batch was created");
    api.jobs.add(&job);
    show(&api, &job).await
}

/// `GET /v1/batches`
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let page = Page::of(&uri)?;
    let limit = page.limit(20, 100)?;
    let after = page.after.as_deref().map(parse).transpose()?;
    let jobs = api.store.jobs(&owner(&headers), after.as_ref(), limit + 1).await?;
    let mut entries = Vec::with_capacity(jobs.len());
    for job in jobs.iter().filter(|job| is_batch(job)) {
        entries.push(objects::batch(job, &publish::files_of(&api, job).await?));
    }
    Ok(Json(page_object(entries, limit)))
}

/// `GET /v1/batches/{id}`
pub(super) async fn one(State(api): State<Api>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let job = find(&api, &owner(&headers), &id).await?;
    show(&api, &job).await
}

/// `POST /v1/batches/{id}/cancel`
pub(super) async fn cancel(State(api): State<Api>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let owner = owner(&headers);
    let before = find(&api, &owner, &id).await?;
    if before.state.is_final() {
        let text = format!("batch `{id}` is {} and cannot be cancelled", before.state);
        return Err(RouteError::new(StatusCode::CONFLICT, "conflict", text));
    }
    let job = api.store.cancel(&owner, &before.id).await?;
    if before.state != JobState::Cancelling && job.state == JobState::Cancelling {
        api.gateway.telemetry().cancelled(before.state);
        tracing::info!(job = %job.id, phase = %before.state, "a batch is being cancelled");
    }
    api.jobs.wake(&job.id);
    show(&api, &job).await
}

async fn show(api: &Api, job: &Job) -> Answer {
    Ok(Json(objects::batch(job, &publish::files_of(api, job).await?)))
}

async fn find(api: &Api, owner: &Owner, id: &str) -> Result<Job, RouteError> {
    match api.store.job(owner, &parse(id)?).await {
        Ok(job) if is_batch(&job) => Ok(job),
        Ok(_) => Err(RouteError::not_found("batch", id)),
        Err(BulkError::NotFound { id }) => Err(RouteError::not_found("batch", &id)),
        Err(error) => Err(error.into()),
    }
}

/// Whether a job came through these routes; those of the command line share the database, perhaps.
pub(super) fn is_batch(job: &Job) -> bool {
    Endpoint::parse(&job.spec.kind).is_some()
}

fn parse(id: &str) -> Result<JobId, RouteError> {
    JobId::parse(id).ok_or_else(|| RouteError::not_found("batch", id))
}

/// Checks what was asked for, as far as it can be checked without reading the whole file.
async fn plan(api: &Api, owner: &Owner, asked: Create) -> Result<JobSpec, RouteError> {
    let endpoint = Endpoint::parse(&asked.endpoint).ok_or_else(|| {
        RouteError::invalid("endpoint", "`endpoint` must be `/v1/embeddings` or `/v2/models/NAME/infer`")
    })?;
    let window = objects::parse_window(&asked.completion_window).ok_or_else(|| {
        let text = "`completion_window` must be hours, minutes or days such as `24h`, 1 minute to 7 days";
        RouteError::invalid("completion_window", text)
    })?;
    let metadata = asked.metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    let file = input(api, owner, &asked.input_file_id).await?;
    let model = match &endpoint {
        Endpoint::Infer { model } => model.clone(),
        Endpoint::Embeddings => first_model(&file.path).await?,
    };
    let target = api.gateway.target(&endpoint, &model).map_err(|refused| {
        let param = if matches!(endpoint, Endpoint::Infer { .. }) { "endpoint" } else { "model" };
        let (status, code) = match &refused {
            NotServed::Unknown(_) => (StatusCode::NOT_FOUND, "model_not_found"),
            NotServed::Unfit(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
        };
        RouteError { status, code, param: Some(param), message: refused.to_string() }
    })?;
    let place = |id: FileId| Location::Local(disk::path_of(&api.settings.directory, &id));
    let now = unix_millis();
    let input = InputSpec {
        location: Location::Local(file.path),
        format: DataFormat::Jsonl,
        id_field: "custom_id".to_owned(),
        columns: BTreeMap::new(),
    };
    let mut chunk = target.chunk;
    // Lines are judged when the job begins: an input that cannot be looked at keeps the usual chunk.
    let codec = Arc::new(Envelope::new(&endpoint, &JobId::random()?, target.codec.clone()));
    if let Ok(sketch) = sketch(&input, &target.manifest, codec).await
        && let Some(items) = api.gateway.chunk_items(&model, &target, &sketch)
    {
        chunk.max_items = items;
    }
    Ok(JobSpec {
        model,
        kind: endpoint.path(),
        point: target.point,
        chunk,
        parallelism: api.settings.max_parallelism,
        engine: Engine::Local,
        learn: None,
        why: None,
        input,
        output: OutputSpec {
            location: place(FileId::random()?),
            format: DataFormat::Jsonl,
            is_sorted: false,
        },
        errors: place(FileId::random()?),
        finish_within: Some(window),
        max_usd: None,
        expires_at: Some(now.saturating_add(i64::try_from(window.as_millis()).unwrap_or(i64::MAX))),
        is_strict: true,
        metadata,
    })
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), RouteError> {
    let fits = metadata.len() <= 16
        && metadata.iter().all(|(key, value)| key.chars().count() <= 64 && value.chars().count() <= 512);
    let text = "`metadata` takes 16 pairs, keys of 64 and values of 512 characters at most";
    if fits { Ok(()) } else { Err(RouteError::invalid("metadata", text)) }
}

async fn input(api: &Api, owner: &Owner, id: &str) -> Result<StoredFile, RouteError> {
    let file = files::find(api, owner, id).await?;
    if file.purpose != "batch" {
        let text = format!("file `{id}` was not uploaded with `purpose` `batch`");
        return Err(RouteError::invalid("input_file_id", text));
    }
    Ok(file)
}

/// The model that the first line of a file names.
async fn first_model(path: &FilePath) -> Result<String, RouteError> {
    let failed = |error: std::io::Error| RouteError::internal("a file cannot be read", &error);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut lines = BufReader::new(file.take(MAX_FIRST_LINE_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).await.map_err(failed)?;
        if read == 0 || !line.trim_ascii().is_empty() {
            break;
        }
    }
    envelope::model_of(&line).ok_or_else(|| {
        let text =
            "line 1 of the file is not `{\"custom_id\", \"method\", \"url\", \"body\"}` with `body.model`";
        RouteError::invalid("input_file_id", text)
    })
}
