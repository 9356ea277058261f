//! `/v1/files`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Multipart, Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::auth::owner;
use super::error::RouteError;
use super::page::{Page, list as page_object};
use super::{Api, objects, upload};
use crate::{BulkError, FileId, Location, Owner, StoredFile};

type Answer = Result<Json<Value>, RouteError>;

/// Files that a page of the list holds at most, and by default.
const MAX_PAGE: u32 = 10_000;

/// `POST /v1/files`
pub(super) async fn create(State(api): State<Api>, headers: HeaderMap, form: Multipart) -> Answer {
    let mut form = form;
    Ok(Json(objects::file(&upload::receive(&api, owner(&headers), &mut form).await?)))
}

/// `GET /v1/files`
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let page = Page::of(&uri)?;
    let limit = page.limit(MAX_PAGE, MAX_PAGE)?;
    let after = page.after.as_deref().map(parse).transpose()?;
    let purpose = page.purpose.as_deref();
    let files = api.store.files(&owner(&headers), purpose, after.as_ref(), limit + 1).await?;
    Ok(Json(page_object(files.iter().map(objects::file).collect(), limit)))
}

/// `GET /v1/files/{id}`
pub(super) async fn one(State(api): State<Api>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    Ok(Json(objects::file(&find(&api, &owner(&headers), &id).await?)))
}

/// `DELETE /v1/files/{id}`
pub(super) async fn delete(State(api): State<Api>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let owner = owner(&headers);
    let file = find(&api, &owner, &id).await?;
    let place = Location::Local(file.path.clone());
    if let Some(job) = api.store.unfinished().await?.iter().find(|job| job.spec.input.location == place) {
        let text = format!("file `{id}` is the input of batch `{}`, which has not ended", job.id);
        return Err(RouteError::new(StatusCode::CONFLICT, "conflict", text));
    }
    remove(&api, &owner, &file).await?;
    Ok(Json(json!({ "id": id, "object": "file", "deleted": true })))
}

/// `GET /v1/files/{id}/content`
pub(super) async fn content(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, RouteError> {
    let file = find(&api, &owner(&headers), &id).await?;
    let opened = tokio::fs::File::open(&file.path)
        .await
        .map_err(|error| RouteError::internal("a file cannot be read", &error))?;
    let mut response = Response::new(Body::from_stream(ReaderStream::with_capacity(opened, 64 * 1024)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(file.bytes));
    Ok(response)
}

/// A file of this owner.
pub(super) async fn find(api: &Api, owner: &Owner, id: &str) -> Result<StoredFile, RouteError> {
    match api.store.file(owner, &parse(id)?).await {
        Err(BulkError::NotFound { id }) => Err(RouteError::not_found("file", &id)),
        found => Ok(found?),
    }
}

/// Removes a file: first its row, so that nobody finds a row without bytes.
pub(super) async fn remove(api: &Api, owner: &Owner, file: &StoredFile) -> Result<(), BulkError> {
    api.store.delete_file(owner, &file.id).await?;
    match tokio::fs::remove_file(&file.path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, file = %file.id, "the bytes of a deleted file could not be removed");
        }
        _ => {}
    }
    Ok(())
}

fn parse(id: &str) -> Result<FileId, RouteError> {
    FileId::parse(id).ok_or_else(|| RouteError::not_found("file", id))
}
