//! `POST /v1/files`: a multipart form, its file straight to the disk and never whole in memory.

use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;

use super::disk::{Upload, path_of, stored_bytes};
use super::error::RouteError;
use super::{Api, RouteSettings};
use crate::{FileId, Owner, StoredFile, unix_millis};

/// How long the rest of a refused form is read and thrown away.
const REFUSED_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Bytes of a form's text fields.
const MAX_TEXT_BYTES: usize = 256;
/// Bytes of a caller's name for a file.
const MAX_NAME_BYTES: usize = 512;

/// Fields of the form, as far as they have come.
#[derive(Default)]
struct Form {
    purpose: Option<String>,
    expires_after_seconds: Option<u64>,
    file: Option<(String, Upload)>,
}

/// Reads the form and keeps its file.
pub(super) async fn receive(
    api: &Api,
    owner: Owner,
    multipart: &mut Multipart,
) -> Result<StoredFile, RouteError> {
    let id = FileId::random()?;
    let form = match read(api, &id, multipart).await {
        Ok(form) => form,
        Err(refused) if refused.status == StatusCode::REQUEST_TIMEOUT => return Err(refused),
        Err(refused) => {
            // A sender hears an answer only if it was let finish, or nearly so.
            let rest = async { while let Ok(Some(_)) = multipart.next_field().await {} };
            let _ = tokio::time::timeout(REFUSED_PATIENCE, rest).await;
            return Err(refused);
        }
    };
    let (Some(purpose), Some((name, upload))) = (form.purpose, form.file) else {
        return Err(RouteError::invalid("file", "the form needs the fields `purpose` and `file`"));
    };
    if purpose != "batch" {
        return Err(RouteError::invalid("purpose", "`purpose` must be `batch`"));
    }
    if upload.bytes == 0 {
        return Err(RouteError::invalid("file", "the file is empty"));
    }
    let settings = &api.settings;
    let now = unix_millis();
    let kept = settings.file_retention.as_secs();
    let seconds = form.expires_after_seconds.map_or(kept, |asked| asked.min(kept));
    let file = StoredFile {
        path: path_of(&settings.directory, &id),
        id,
        owner,
        purpose,
        name,
        bytes: upload.bytes,
        created_at: now,
        expires_at: Some(now.saturating_add(i64::try_from(seconds * 1000).unwrap_or(i64::MAX))),
    };
    upload.finish(&file.path).await.map_err(|error| on_disk(&error))?;
    if let Err(error) = api.store.put_file(&file).await {
        let _ = std::fs::remove_file(&file.path);
        return Err(error.into());
    }
    tracing::info!(file = %file.id, bytes = file.bytes, "a file was uploaded");
    Ok(file)
}

async fn read(api: &Api, id: &FileId, multipart: &mut Multipart) -> Result<Form, RouteError> {
    let mut form = Form::default();
    while let Some(field) = patient(&api.settings, multipart.next_field()).await? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "purpose" => form.purpose = Some(text(&api.settings, field).await?),
            "file" if form.file.is_none() => form.file = Some(stream(api, id, field).await?),
            "expires_after[seconds]" => {
                let text = text(&api.settings, field).await?;
                let seconds = text.parse().ok().filter(|seconds| (3600..=2_592_000).contains(seconds));
                form.expires_after_seconds = Some(seconds.ok_or_else(|| {
                    RouteError::invalid("expires_after", "`expires_after[seconds]` must be 3600 to 2592000")
                })?);
            }
            "expires_after[anchor]" => {
                if text(&api.settings, field).await? != "created_at" {
                    let text = "`expires_after[anchor]` must be `created_at`";
                    return Err(RouteError::invalid("expires_after", text));
                }
            }
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(RouteError::invalid("form", format!("field `{name}` is unknown or comes twice")));
            }
        }
    }
    Ok(form)
}

/// Writes a field to the disk, within the bounds.
async fn stream(api: &Api, id: &FileId, mut field: Field<'_>) -> Result<(String, Upload), RouteError> {
    let mut name: String = field.file_name().unwrap_or("batch.jsonl").to_owned();
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    let settings = &api.settings;
    let directory = settings.directory.clone();
    let stored = tokio::task::spawn_blocking(move || stored_bytes(&directory)).await.unwrap_or(0);
    let mut upload = Upload::begin(&settings.directory, id).await.map_err(|error| on_disk(&error))?;
    while let Some(chunk) = patient(settings, field.chunk()).await? {
        let bytes = upload.bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if bytes > settings.max_file_bytes {
            let text = format!("the file exceeds {} bytes", settings.max_file_bytes);
            return Err(RouteError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text));
        }
        if stored.saturating_add(bytes) > settings.max_stored_bytes {
            let text = "no room is left for files: delete some, or wait until some expire";
            return Err(RouteError::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", text));
        }
        upload.write(&chunk).await.map_err(|error| on_disk(&error))?;
    }
    Ok((name, upload))
}

async fn text(settings: &RouteSettings, mut field: Field<'_>) -> Result<String, RouteError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = patient(settings, field.chunk()).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(RouteError::invalid("form", "a text field is too long"));
        }
    }
    String::from_utf8(bytes).map_err(|_| RouteError::invalid("form", "a text field is not UTF-8"))
}

/// The next part of a form, unless its sender falls silent.
async fn patient<T>(
    settings: &RouteSettings,
    next: impl Future<Output = Result<T, MultipartError>>,
) -> Result<T, RouteError> {
    match tokio::time::timeout(settings.upload_patience, next).await {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(error)) => {
            Err(RouteError::invalid("form", format!("malformed multipart form: {}", error.body_text())))
        }
        Err(_silent) => {
            let text = "the form did not arrive in time";
            Err(RouteError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", text))
        }
    }
}

fn on_disk(error: &std::io::Error) -> RouteError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        tracing::error!(%error, "an upload did not fit the disk");
        return RouteError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "storage_full",
            "no room is left for files",
        );
    }
    RouteError::internal("an upload could not be written", error)
}
