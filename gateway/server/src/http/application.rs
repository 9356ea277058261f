//! The public routes with a short cut for inference: the hot path skips the router's matching, cloning and boxing.
//!
//! Only `POST /v2/models/{model}[/versions/{version}]/infer` with plain names takes the short cut; whatever is unusual in a path
//! (escapes, a query, other verbs) goes through the router, which has the same route.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use hyper::{Method, Request};
use pin_project_lite::pin_project;

use super::router::method_not_allowed;
use super::{Application, HttpState, infer, public_router};
use crate::inference::Inference;

/// The public listener's application: [`public_router`] and a short cut to inference.
#[derive(Clone)]
pub struct PublicApplication<I> {
    state: HttpState<I>,
    router: Router,
}

impl<I: Inference> PublicApplication<I> {
    /// Serves all `/v2` routes.
    #[must_use]
    pub fn new(state: HttpState<I>) -> Self {
        Self { router: public_router(state.clone()), state }
    }

    /// Adds routes beside `/v2`.
    #[must_use]
    pub fn merge(self, routes: Router) -> Self {
        let router = self.router.merge(routes).method_not_allowed_fallback(method_not_allowed);
        Self { router, ..self }
    }
}

impl<I: Inference> Application for PublicApplication<I> {
    type Future = PublicFuture;

    fn respond(&self, request: Request<Incoming>) -> PublicFuture {
        if request.method() != Method::POST || inference_path(request.uri()).is_none() {
            return PublicFuture::Routed { answer: self.router.respond(request) };
        }
        let state = self.state.clone();
        let answer = Box::pin(async move {
            let (head, body) = request.into_parts();
            // Checked above; the empty name is not served.
            let (model, version) = inference_path(&head.uri).unwrap_or_default();
            Ok(infer::infer(&state, model, version, &head, body).await)
        });
        PublicFuture::Inference { answer }
    }
}

pin_project! {
    /// An answer of [`PublicApplication`] on its way.
    #[project = PublicFutureProjection]
    #[allow(missing_docs, reason = "opaque to users")]
    pub enum PublicFuture {
        Inference { answer: Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> },
        Routed { #[pin] answer: RouteFuture<Infallible> },
    }
}

impl Future for PublicFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            PublicFutureProjection::Inference { answer } => answer.as_mut().poll(cx),
            PublicFutureProjection::Routed { answer } => answer.poll(cx),
        }
    }
}

/// Model and version of a plain inference path.
fn inference_path(uri: &hyper::Uri) -> Option<(&str, Option<&str>)> {
    if uri.query().is_some() {
        return None;
    }
    let names = uri.path().strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
    if names.bytes().any(|byte| byte == b'%') {
        return None;
    }
    let mut parts = names.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(model), None, ..) if !model.is_empty() => Some((model, None)),
        (Some(model), Some("versions"), Some(version), None) if !model.is_empty() && !version.is_empty() => {
            Some((model, Some(version)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_take_the_short_cut() {
        let of = |path: &str| {
            inference_path(&path.parse().unwrap()).map(|(model, version)| format!("{model} {version:?}"))
        };
        assert_eq!(of("/v2/models/m/infer").as_deref(), Some("m None"));
        assert_eq!(of("/v2/models/m/versions/1/infer").as_deref(), Some("m Some(\"1\")"));
        for path in [
            "/v2/models//infer",
            "/v2/models/a%62/infer",
            "/v2/models/m/infer?x=1",
            "/v2/models/m/n/infer",
            "/v2/models/m/versions//infer",
            "/v2/models/m/versions/1/2/infer",
            "/v2/models/m",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
