//! The address under which the caller sees this API, for links to further pages.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OriginalUri};
use http::request::Parts;
use http::{HeaderMap, Uri, header};

/// How the caller is connected. Whoever accepts TLS connections adds it to the extensions of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionScheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// The address of a list.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    scheme: ConnectionScheme,
    host: String,
    path: String,
    query: String,
}

impl Link {
    /// The same list from another item on. Parameters are sorted by name, as in the compatible API.
    pub(crate) fn page(&self, offset: usize, size: usize) -> String {
        let scheme = match self.scheme {
            ConnectionScheme::Http => "http",
            ConnectionScheme::Https => "https",
        };
        let name_of = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
        let mut parameters: Vec<String> = self
            .query
            .split('&')
            .filter(|parameter| !matches!(name_of(parameter).as_str(), "" | "offset" | "size"))
            .map(str::to_owned)
            .collect();
        parameters.push(format!("offset={offset}"));
        parameters.push(format!("size={size}"));
        parameters.sort_by_key(|parameter| name_of(parameter));
        format!("{scheme}://{}{}?{}", self.host, self.path, parameters.join("&"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Link {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let uri = parts
            .extensions
            .get::<OriginalUri>()
            .map_or(&parts.uri, |original| &original.0);
        Ok(Self {
            scheme: parts.extensions.get::<ConnectionScheme>().copied().unwrap_or_default(),
            host: host_of(uri, &parts.headers).unwrap_or("localhost").to_owned(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
        })
    }
}

/// Refuses a request that names more than one host: what stands before this server may have gone by another one than we
/// would (RFC 9112 §3.2, RFC 9113 §8.3.1).
///
/// # Errors
/// What contradicts what.
pub fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has more than one Host header: send one".to_owned());
    }
    match (uri.authority(), first) {
        (Some(authority), Some(host)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => Err(
            format!("the request asks for \"{authority}\" and has another Host header: both must be the same"),
        ),
        _ => Ok(()),
    }
}

/// The host that the caller asked for: `:authority` of HTTP/2, else header `Host`.
pub fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST)?.to_str().ok().filter(|host| !host.is_empty()),
    }
}
