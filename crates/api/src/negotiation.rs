//! Media types: bodies must be JSON, and the caller must accept JSON (`spec/http-api.md` §1). Router errors are plain text.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};

/// Middleware for endpoints that speak JSON both ways.
pub(crate) async fn json_only(request: Request, next: Next) -> Response {
    if !accepts_json(request.headers()) {
        return (StatusCode::NOT_ACCEPTABLE, "406: Not Acceptable").into_response();
    }
    json_body(request, next).await
}

/// Middleware for endpoints that take JSON and answer with text.
pub(crate) async fn json_body(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::PUT | Method::POST) && !has_json(request.headers()) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type").into_response();
    }
    next.run(request).await
}

/// Answer for an unknown path.
pub(crate) async fn no_such_path() -> Response {
    (StatusCode::NOT_FOUND, "404: Page Not Found").into_response()
}

/// Answer for a verb that a path does not have.
pub(crate) async fn no_such_verb() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed").into_response()
}

fn has_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    media_type(value).eq_ignore_ascii_case("application/json")
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(media_type)
        .filter(|range| !range.is_empty())
        .peekable();
    let any = ["application/json", "application/*", "*/*", "*"];
    ranges.peek().is_none() || ranges.any(|range| any.iter().any(|json| range.eq_ignore_ascii_case(json)))
}

fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}
