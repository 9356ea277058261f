//! `/console` on the admin listener: a page that shows what the gateway does and lets an operator hold the choice of plans.
//!
//! The page is plain files beside this one, compiled in, and works without any other host. It reads `/control` and `/metrics` as everybody may, and
//! changes nothing but through `/control`. Its headers forbid scripts, styles and connections from elsewhere, inline script, and being framed.
//! Deliberately absent: a build step, state, and authentication (the listener is private).

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// Nothing but this origin's own files, and no form or frame anywhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($( $name:literal $media_type:ident; )*) => {
        /// Every file but the page itself: name, media type, text.
        const ASSETS: &[(&str, &str, &str)] = &[$( ($name, $media_type, include_str!($name)), )*];
    };
}

assets! {
    "console.css" CSS;
    "icon.svg" SVG;
    "app.js" JAVASCRIPT;
    "api.js" JAVASCRIPT;
    "batches.js" JAVASCRIPT;
    "chart.js" JAVASCRIPT;
    "commands.js" JAVASCRIPT;
    "cost.js" JAVASCRIPT;
    "decisions.js" JAVASCRIPT;
    "dom.js" JAVASCRIPT;
    "format.js" JAVASCRIPT;
    "health.js" JAVASCRIPT;
    "heatmap.js" JAVASCRIPT;
    "jobs.js" JAVASCRIPT;
    "latency.js" JAVASCRIPT;
    "load.js" JAVASCRIPT;
    "metrics.js" JAVASCRIPT;
    "overview.js" JAVASCRIPT;
    "plan.js" JAVASCRIPT;
    "store.js" JAVASCRIPT;
    "surface.js" JAVASCRIPT;
    "timeline.js" JAVASCRIPT;
}

const PAGE: &str = include_str!("index.html");

/// The routes.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || Redirect::temporary("console"))) // relative, for a proxy that puts a prefix before it
        .route("/console", get(async || file(HTML, PAGE)))
        .route("/console/", get(async || Redirect::temporary("../console")))
        .route("/console/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, _, _)| *known == name) {
        Some(&(_, media_type, text)) => file(media_type, text),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-cache"), // another build may answer next time
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn call(method: &str, path: &str) -> (Response<()>, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (parts, body) = router().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn header<'a>(response: &'a Response<()>, name: &str) -> &'a str {
        response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    #[tokio::test]
    async fn every_file_of_the_console_forbids_what_comes_from_elsewhere() {
        let files = ASSETS.iter().map(|&(name, media_type, _)| (format!("/console/{name}"), media_type));
        for (path, media_type) in files.chain([("/console".to_owned(), HTML)]) {
            let (response, _) = call("GET", &path).await;
            assert_eq!((response.status(), header(&response, "content-type")), (StatusCode::OK, media_type));
            let policy = header(&response, "content-security-policy");
            for part in
                ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
            {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        }
    }

    #[tokio::test]
    async fn the_root_leads_to_the_console_and_nothing_else_is_served() {
        for (path, to) in [("/", "console"), ("/console/", "../console")] {
            let (response, _) = call("GET", path).await;
            assert_eq!(
                (response.status(), header(&response, "location")),
                (StatusCode::TEMPORARY_REDIRECT, to)
            );
        }
        for path in ["/console/mod.rs", "/console/..%2Fmod.rs", "/console/index.html", "/other"] {
            assert_eq!(call("GET", path).await.0.status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(call("POST", "/console").await.0.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn the_page_has_no_inline_script_and_the_scripts_insert_no_text_as_html() {
        for tag in PAGE.split("<script").skip(1) {
            let (attributes, inside) = tag.split_once('>').unwrap();
            assert!(attributes.contains("src=") && inside.starts_with("</script>"), "{attributes}");
        }
        for forbidden in [" style=", " onclick=", " onload=", "javascript:", "http://", "https://"] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        let scripts = ASSETS.iter().filter(|(_, media_type, _)| *media_type == JAVASCRIPT);
        for (name, _, text) in scripts {
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!text.contains(forbidden), "{name}: {forbidden}");
            }
            for import in text.lines().filter_map(|line| line.split_once(" from \"")).map(|(_, rest)| rest) {
                let file = import.split('"').next().unwrap().trim_start_matches("./");
                assert!(ASSETS.iter().any(|(known, _, _)| *known == file), "{name} imports {file}");
            }
        }
    }
}
