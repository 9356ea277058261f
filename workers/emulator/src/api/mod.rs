//! The Lambda API over HTTP: paths, methods and shapes as the published service model has them. Signatures are accepted
//! unchecked, and so are credentials, roles and regions. Absent: everything that is not routed below; it answers 404.

mod aliases;
mod concurrency;
mod declare;
mod error;
mod functions;
mod invoke;
mod names;
mod updates;
mod validate;

use crate::host::Host;
use crate::http_io::{Answer, Break, Collected, collect, json};
use crate::sync::lock;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use names::percent_decode;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use declare::declare;
pub(crate) use error::ApiError;

/// Largest body of a configuration call: a 50 MB package in base64, and its surroundings.
const MAXIMUM_CONTROL_BYTES: usize = 72 << 20;

/// A configuration call: what handlers need of the request.
pub(crate) struct Call {
    /// Path element of the function, decoded; empty where the path has none.
    pub(crate) function: String,
    /// Further path element (alias name), decoded.
    pub(crate) element: String,
    /// Query string.
    pub(crate) query: Option<String>,
    /// Body.
    pub(crate) body: bytes::Bytes,
}

impl Call {
    /// Reads the body as JSON; an empty body is an empty object.
    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, ApiError> {
        let text: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(text).map_err(|error| ApiError::serialization(&error.to_string()))
    }

    /// A value of the query.
    fn query(&self, name: &str) -> Option<String> {
        names::query_value(self.query.as_deref(), name)
    }
}

type Handler = fn(&Arc<Host>, &Call) -> Result<Answer, ApiError>;

/// Answers one request of the API.
pub(crate) async fn handle(host: Arc<Host>, request: Request<Incoming>) -> Result<Answer, Break> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let (&Method::POST, ["2015-03-31", "functions", function, "invocations"]) =
        (request.method(), parts.as_slice())
    {
        return invoke::handle(host, &percent_decode(function), request).await;
    }
    let request_id = host.ids.next_uuid();
    let mut answer = control(&host, &parts, request).await.unwrap_or_else(ApiError::into_answer);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        answer.headers_mut().insert("x-amzn-requestid", value);
    }
    Ok(answer)
}

async fn control(host: &Arc<Host>, parts: &[&str], request: Request<Incoming>) -> Result<Answer, ApiError> {
    let (handler, function, element) =
        route(request.method(), parts).ok_or_else(ApiError::unknown_operation)?;
    lock(&host.limits).control_call(Instant::now()).map_err(|reason| ApiError::throttled(reason, 1))?;
    let query = request.uri().query().map(str::to_owned);
    let body = match collect(request.into_body(), MAXIMUM_CONTROL_BYTES).await {
        Ok(Collected::Whole(body, _)) => body,
        Ok(Collected::TooLarge { .. }) => return Err(ApiError::package_too_large(MAXIMUM_CONTROL_BYTES)),
        Err(_) => return Err(ApiError::serialization("the request body was cut off")),
    };
    let call = Call { function: percent_decode(function), element: percent_decode(element), query, body };
    // Unpacking and hashing a package takes long enough to be kept off the threads that serve invocations.
    let host = Arc::clone(host);
    let done = tokio::task::spawn_blocking(move || handler(&host, &call)).await;
    done.unwrap_or_else(|_| Err(ApiError::scripted(500, "ServiceException")))
}

/// The handler of a configuration call with the path's function and further element.
fn route<'a>(method: &Method, parts: &[&'a str]) -> Option<(Handler, &'a str, &'a str)> {
    let (handler, function, element): (Handler, &str, &str) = match (method.as_str(), parts) {
        ("POST", ["2015-03-31", "functions"]) => (functions::create, "", ""),
        ("GET", ["2015-03-31", "functions"]) => (functions::list, "", ""),
        ("GET", ["2015-03-31", "functions", name]) => (functions::get, name, ""),
        ("DELETE", ["2015-03-31", "functions", name]) => (functions::delete, name, ""),
        ("GET", ["2015-03-31", "functions", name, "configuration"]) => {
            (functions::get_configuration, name, "")
        }
        ("PUT", ["2015-03-31", "functions", name, "configuration"]) => (updates::configuration, name, ""),
        ("PUT", ["2015-03-31", "functions", name, "code"]) => (updates::code, name, ""),
        ("POST", ["2015-03-31", "functions", name, "versions"]) => (updates::publish, name, ""),
        ("GET", ["2015-03-31", "functions", name, "versions"]) => (functions::list_versions, name, ""),
        ("POST", ["2015-03-31", "functions", name, "aliases"]) => (aliases::create, name, ""),
        ("GET", ["2015-03-31", "functions", name, "aliases"]) => (aliases::list, name, ""),
        ("GET", ["2015-03-31", "functions", name, "aliases", alias]) => (aliases::get, name, alias),
        ("PUT", ["2015-03-31", "functions", name, "aliases", alias]) => (aliases::update, name, alias),
        ("DELETE", ["2015-03-31", "functions", name, "aliases", alias]) => (aliases::delete, name, alias),
        ("PUT", ["2017-10-31", "functions", name, "concurrency"]) => (concurrency::put, name, ""),
        ("DELETE", ["2017-10-31", "functions", name, "concurrency"]) => (concurrency::delete, name, ""),
        ("GET", ["2019-09-30", "functions", name, "concurrency"]) => (concurrency::get, name, ""),
        ("GET", ["2016-08-19", "account-settings"]) => (concurrency::account_settings, "", ""),
        _ => return None,
    };
    Some((handler, function, element))
}

/// A JSON answer.
fn reply(status: StatusCode, body: &serde_json::Value) -> Result<Answer, ApiError> {
    Ok(json(status, body.to_string()))
}

/// An answer without a body.
fn no_content() -> Result<Answer, ApiError> {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

/// One page of `items` after the query's marker, and the next marker. The marker is the number of items before it.
fn page<T>(call: &Call, items: Vec<T>) -> (Vec<T>, Option<String>) {
    let start = call.query("Marker").and_then(|marker| marker.parse().ok()).unwrap_or(0_usize);
    let size = call.query("MaxItems").and_then(|size| size.parse().ok()).unwrap_or(50_usize).clamp(1, 50);
    let more = items.len() > start.saturating_add(size);
    let page = items.into_iter().skip(start).take(size).collect();
    (page, more.then(|| (start + size).to_string()))
}
