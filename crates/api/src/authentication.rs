//! Who is calling: a user token, the administrator on this very machine, or anybody (`spec/http-api.md` §6).

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, Uri, header};
use meshspan_identity::token::validate_user_token;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::link::{check_host, host_of};
use crate::state::ApiState;
use crate::tokens::trust;

/// Middleware that finds out who is calling and refuses tokens that do not hold. The index needs no authentication.
pub(crate) async fn authenticate(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let base = state.settings.base_path.trim_end_matches('/');
    let path = request.uri().path();
    if path.strip_prefix(base).unwrap_or(path).trim_matches('/').is_empty() {
        return next.run(request).await;
    }
    if let Err(reason) =
        check_host(request.uri(), request.headers()).and_then(|()| one_authorization(request.headers()))
    {
        return ApiError::bad_request(reason).into_response();
    }
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    match identify(&state, peer, request.uri(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn identify(state: &ApiState, peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Result<Caller, ApiError> {
    if let Some(token) = bearer_token(headers) {
        let trust = trust::user(&state.store.snapshot());
        return match validate_user_token(token, &trust, state.now()) {
            Ok(token) => Ok(Caller::authenticated(token.claims)),
            Err(error) => {
                let from = peer.map(|ip| ip.to_string()).unwrap_or_default();
                if let Some(suppressed) = state.log_limit.allows(&from) {
                    tracing::info!(%error, from, suppressed, "refused a user token");
                }
                Err(ApiError::unauthenticated())
            }
        };
    }
    if state.settings.localhost_is_admin && is_local_user(peer, uri, headers) {
        return Ok(Caller::admin());
    }
    Ok(Caller::anonymous())
}

/// Of two credentials one would count here and perhaps the other one for a proxy in between.
fn one_authorization(headers: &HeaderMap) -> Result<(), String> {
    match headers.get_all(header::AUTHORIZATION).iter().count() {
        0 | 1 => Ok(()),
        _ => Err("the request has more than one Authorization header: send one".to_owned()),
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// True for a header that programs and browsers send of themselves. Proxies, gateways and content delivery networks say in
/// headers for whom they ask, of which there is no end: one that is missing here costs a local caller its token-less access,
/// one that is not thought of in a list of theirs would make a stranger the administrator.
fn is_of_direct_callers(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 33] = [
        header::ACCEPT,
        header::ACCEPT_CHARSET,
        header::ACCEPT_ENCODING,
        header::ACCEPT_LANGUAGE,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::DNT,
        header::EXPECT,
        header::HOST,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::ORIGIN,
        header::PRAGMA,
        header::RANGE,
        header::REFERER,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::UPGRADE_INSECURE_REQUESTS,
        header::USER_AGENT,
        HeaderName::from_static("http2-settings"),
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("priority"),
        HeaderName::from_static("traceparent"),
    ];
    // A browser lets no page set those that begin so.
    NAMES.contains(name) || name.as_str().starts_with("sec-")
}

/// True only for a program or page of this machine. A proxy on this machine speaks for others, and a web page of others
/// speaks through a browser on this machine: neither passes.
fn is_local_user(peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> bool {
    let direct = headers.keys().all(is_of_direct_callers);
    let Some(host) = host_of(uri, headers) else {
        return false;
    };
    let fetched_here = headers
        .get("sec-fetch-site")
        .is_none_or(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    let origin_here = headers.get(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    });
    peer.is_some_and(|ip| ip.to_canonical().is_loopback())
        && direct
        && is_loopback_host(host)
        && fetched_here
        && origin_here
}

/// True for `localhost`, `127.0.0.1` and `[::1]`, with or without port.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(peer: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        is_local_user(Some(peer.parse().unwrap()), &"/meshes".parse().unwrap(), &map)
    }

    #[test]
    fn only_programs_of_this_machine_are_admin() {
        for host in [
            "localhost",
            "localhost:5681",
            "127.0.0.1:5681",
            "[::1]:5681",
            "[::1]",
            "LOCALHOST:1",
        ] {
            assert!(check("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(check("::1", &[("host", "localhost")]));
        assert!(check("::ffff:127.0.0.1", &[("host", "localhost")]));
        assert!(check(
            "127.0.0.1",
            &[("host", "localhost"), ("sec-fetch-site", "same-origin")]
        ));
        assert!(check(
            "127.0.0.1",
            &[("host", "localhost:80"), ("origin", "http://localhost:80")]
        ));
        for (peer, headers) in [
            ("10.0.0.1", vec![("host", "localhost")]),
            ("127.0.0.1", vec![]),
            ("127.0.0.1", vec![("host", "evil.example")]),
            ("127.0.0.1", vec![("host", "localhost.evil.example")]),
            (
                "127.0.0.1",
                vec![("host", "localhost"), ("x-forwarded-for", "127.0.0.1")],
            ),
            ("127.0.0.1", vec![("host", "localhost"), ("forwarded", "for=1")]),
            ("127.0.0.1", vec![("host", "localhost"), ("x-real-ip", "127.0.0.1")]),
            (
                "127.0.0.1",
                vec![("host", "localhost"), ("sec-fetch-site", "cross-site")],
            ),
            (
                "127.0.0.1",
                vec![("host", "localhost"), ("origin", "http://evil.example")],
            ),
            ("127.0.0.1", vec![("host", "localhost"), ("origin", "null")]),
        ] {
            assert!(!check(peer, &headers), "{peer} {headers:?}");
        }
    }

    #[test]
    fn whoever_is_asked_for_by_a_proxy_is_no_local_user() {
        for name in [
            "forwarded",
            "forwarded-for",
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-port",
            "x-forwarded-server",
            "x-forwarded-client-cert",
            "x-original-forwarded-for",
            "via",
            "x-real-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "cf-connecting-ipv6",
            "fastly-client-ip",
            "fly-client-ip",
            "x-nf-client-connection-ip",
            "x-azure-socketip",
            "x-envoy-external-address",
            "wl-proxy-client-ip",
            "x-remote-addr",
            "x-original-host",
            "cdn-loop",
            "x-originating-ip",
            "x-forward-for",
            "x-forward",
            "x-proxied-for",
            "x-bluecoat-via",
            "x-backend-host",
            "x-real-host",
            "x-original-path",
            "remote-addr",
            "client-address",
            "x-client-address",
            "x-peer-addr",
            "x-scheme",
            "x-varnish",
            "surrogate-capability",
            "cf-ray",
            "x-amzn-trace-id",
            "x-request-id",
            "x-whatever-comes-next",
        ] {
            assert!(
                !check("127.0.0.1", &[("host", "localhost"), (name, "127.0.0.1")]),
                "{name}"
            );
        }
        for name in ["user-agent", "accept", "sec-ch-ua-platform", "traceparent"] {
            assert!(check("127.0.0.1", &[("host", "localhost"), (name, "1")]), "{name}");
        }
    }
}
