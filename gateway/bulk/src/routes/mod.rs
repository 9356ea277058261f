//! Jobs over HTTP, as OpenAI's Batch API has it: `/v1/files`, `/v1/batches`, and the service that runs what was created there.
//!
//! The routes write rows and files; the service ([`service`](self::service)) runs jobs, in the gateway's own process. What a gateway serves is asked
//! through [`Gateway`]. Gateways that share a database and a folder share the jobs. Deliberately absent: authentication (a bearer token only says whose
//! files and jobs they are; see `auth`).

mod auth;
mod batches;
mod disk;
mod endpoint;
mod envelope;
mod error;
mod files;
mod gate;
mod host;
mod objects;
mod operator;
mod page;
mod publish;
mod service;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub use self::endpoint::Endpoint;
pub use self::envelope::{BodyCodec, BodyFault, BodyRequest};
pub use self::gate::Gate;
pub use self::host::{Gateway, JobProgress, JobTelemetry, NotServed, Target};
pub use self::service::{Service, start};
use crate::Store;

/// Bounds of the routes and of what they keep.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// Folder of the files; made if it is not there.
    pub directory: PathBuf,
    /// Jobs that run at a time, at least 1.
    pub max_jobs: u32,
    /// Invocations of one job at a time, at least 1; the [`Gate`] bounds those of all.
    pub max_parallelism: u32,
    /// Bytes of one uploaded file.
    pub max_file_bytes: u64,
    /// Bytes of all files together.
    pub max_stored_bytes: u64,
    /// How long files are kept.
    pub file_retention: Duration,
    /// Longest silence while a file is being sent.
    pub upload_patience: Duration,
    /// How long a gateway may be silent before another one takes its jobs over.
    pub lease: Duration,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) settings: Arc<RouteSettings>,
    pub(crate) gateway: Arc<dyn Gateway>,
    pub(crate) jobs: service::JobQueue,
}

fn router(api: Api) -> Router {
    let uploads = post(files::create).layer(DefaultBodyLimit::disable()); // bounded while it streams to disk
    Router::new()
        .route("/v1/files", uploads.get(files::list))
        .route("/v1/files/{id}", get(files::one).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", post(batches::create).get(batches::list))
        .route("/v1/batches/{id}", get(batches::one))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .with_state(api)
}
