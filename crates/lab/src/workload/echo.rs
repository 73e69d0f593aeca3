//! An HTTP service, HTTP/1.1, HTTP/2 without TLS and gRPC on one port, that answers with what it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Largest body that is echoed, in bytes.
const MAX_BODY: usize = 1 << 20;
/// Before each gRPC message: whether it is compressed, and its length.
const GRPC_PREFIX: usize = 5;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Zone of the service.
    pub zone: String,
    /// Instance of the service.
    pub instance: String,
    /// Method of the request.
    pub method: String,
    /// Path and query of the request.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`
    pub version: String,
    /// Headers of the request, several values joined by commas.
    pub headers: BTreeMap<String, String>,
    /// Body of the request.
    pub body: String,
}

/// Answers every request with [`Echo`] as JSON; the headers `x-zone` and `x-instance` repeat who answered. A unary gRPC call of any
/// method is answered with the same JSON as its message, and with the status OK. Some paths make trouble, see [`Trouble`].
///
/// # Errors
/// The listener fails.
pub async fn echo(listener: TcpListener, zone: &str, instance: &str) -> Result<()> {
    let who = Arc::new(Who {
        zone: zone.to_owned(),
        instance: instance.to_owned(),
        seen: Mutex::default(),
    });
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = listener.accept().await?;
        let who = who.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let who = who.clone();
                async move { Ok::<_, Infallible>(answer(request, &who).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("{peer}: {error}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Who answers.
struct Who {
    zone: String,
    instance: String,
    /// Tokens of `/once/…` that were seen.
    seen: Mutex<BTreeSet<String>>,
}

/// What a path asks for. With `/in/<zone>` at its end, instances of other zones answer as usual.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// `/status/<code>`: that status.
    Status(StatusCode),
    /// `/once/<code>/<token>`: that status, but only the first time that an instance sees the token.
    Once(StatusCode, String),
    /// `/delay/<milliseconds>`: the answer comes later.
    Delay(Duration),
}

impl Trouble {
    fn parse(path: &str, zone: &str) -> Option<Self> {
        let (path, only_in) = match path.rsplit_once("/in/") {
            Some((path, only_in)) => (path, Some(only_in)),
            None => (path, None),
        };
        if only_in.is_some_and(|only_in| only_in != zone) {
            return None;
        }
        let mut parts = path.trim_start_matches('/').split('/');
        match (parts.next()?, parts.next()?) {
            ("status", code) => Some(Self::Status(code.parse().ok()?)),
            ("once", code) => Some(Self::Once(code.parse().ok()?, parts.next()?.to_owned())),
            ("delay", milliseconds) => Some(Self::Delay(Duration::from_millis(milliseconds.parse().ok()?))),
            _ => None,
        }
    }
}

async fn answer(request: Request<Incoming>, who: &Who) -> Response<Body> {
    let (zone, instance) = (who.zone.as_str(), who.instance.as_str());
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return failure(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.to_string())
            .and_modify(|values| *values = format!("{values},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    let is_grpc = headers
        .get(header::CONTENT_TYPE.as_str())
        .is_some_and(|content| content.starts_with("application/grpc"));
    let body = body.to_bytes();
    let message = if is_grpc {
        body.get(GRPC_PREFIX..).unwrap_or_default()
    } else {
        &body
    };
    let echo = Echo {
        zone: zone.to_owned(),
        instance: instance.to_owned(),
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        version: format!("{:?}", parts.version),
        headers,
        body: String::from_utf8_lossy(message).into_owned(),
    };
    let status = match Trouble::parse(parts.uri.path(), zone) {
        None => StatusCode::OK,
        Some(Trouble::Status(status)) => status,
        Some(Trouble::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            StatusCode::OK
        }
        Some(Trouble::Once(status, token)) => {
            let mut seen = who.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.insert(token) { status } else { StatusCode::OK }
        }
    };
    let Ok(json) = serde_json::to_vec(&echo) else {
        return failure(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let (content_type, body) = if is_grpc {
        ("application/grpc", grpc_answer(&json))
    } else {
        ("application/json", whole(json))
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header("x-zone", zone)
        .header("x-instance", instance)
        .body(body)
        // A zone that is not fit for a header.
        .unwrap_or_else(|_| failure(StatusCode::INTERNAL_SERVER_ERROR))
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// One message, not compressed, and the status OK.
fn grpc_answer(message: &[u8]) -> Body {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let frame = [&[0], &length.to_be_bytes()[..], message].concat();
    let trailers = HeaderMap::from_iter([(
        header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    Full::new(Bytes::from(frame))
        .with_trailers(async { Some(Ok(trailers)) })
        .boxed_unsync()
}

fn failure(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_make_trouble_in_one_zone_or_everywhere() {
        let teapot = StatusCode::IM_A_TEAPOT;
        assert_eq!(Trouble::parse("/status/418", "east"), Some(Trouble::Status(teapot)));
        assert_eq!(
            Trouble::parse("/status/418/in/east", "east"),
            Some(Trouble::Status(teapot))
        );
        assert_eq!(Trouble::parse("/status/418/in/east", "west"), None);
        assert_eq!(
            Trouble::parse("/once/418/a", "east"),
            Some(Trouble::Once(teapot, "a".to_owned()))
        );
        assert_eq!(
            Trouble::parse("/delay/20", "east"),
            Some(Trouble::Delay(Duration::from_millis(20)))
        );
        for harmless in ["/", "/v2/a", "/status/x", "/delay"] {
            assert_eq!(Trouble::parse(harmless, "east"), None, "{harmless}");
        }
    }
}
