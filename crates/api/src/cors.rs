//! Which web pages of other origins may call the API from a browser (`apiServer.corsAllowedDomains`).
//!
//! A page that is let in has no rights beyond its token: whoever comes from a browser with a foreign origin is no local
//! administrator (`authentication`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderValue, Method, StatusCode};
use regex::{Regex, RegexBuilder};

use crate::state::ApiState;

/// Largest compiled expression, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// The origins that are let in.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    allowed: Arc<[Regex]>,
}

impl Cors {
    /// Takes regular expressions that must match a whole origin, such as `https://.*\\.example`.
    ///
    /// # Errors
    /// Which one is none, and why.
    pub fn parse(allowed: &[String]) -> Result<Self, String> {
        let compile = |text: &String| {
            let whole = format!("^(?:{text})$");
            let compiled = RegexBuilder::new(&whole).size_limit(MAX_COMPILED).build();
            compiled.map_err(|error| {
                format!("\"{text}\" is no regular expression of an origin such as https://console\\.example: {error}")
            })
        };
        Ok(Self {
            allowed: allowed.iter().map(compile).collect::<Result<Vec<_>, _>>()?.into(),
        })
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().unwrap_or_default();
        self.allowed.iter().any(|allowed| allowed.is_match(origin))
    }
}

/// Middleware that answers a browser's question before a request, and marks answers for it.
pub(crate) async fn cross_origin(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let cors = &state.settings.cors;
    let Some(origin) = request
        .headers()
        .get(ORIGIN)
        .filter(|origin| cors.allows(origin))
        .cloned()
    else {
        return next.run(request).await;
    };
    let asks = *request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match asks {
        true => preflight(),
        false => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("Origin"));
    response
}

fn preflight() -> Response {
    let answer = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, PUT, POST, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, answer).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_expression_must_match_the_whole_origin() {
        let cors = Cors::parse(&["https://.*\\.example".to_owned(), "http://localhost:3000".to_owned()]).unwrap();
        for (origin, allowed) in [
            ("https://console.example", true),
            ("http://localhost:3000", true),
            ("https://console.example.evil", false),
            ("http://console.example", false),
            ("null", false),
        ] {
            assert_eq!(cors.allows(&HeaderValue::from_static(origin)), allowed, "{origin}");
        }
        assert!(!Cors::default().allows(&HeaderValue::from_static("https://a")));
        assert!(Cors::parse(&["(".to_owned()]).unwrap_err().contains("\"(\""));
    }
}
