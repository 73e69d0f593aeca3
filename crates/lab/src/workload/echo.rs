//! An HTTP service, HTTP/1.1, HTTP/2 without TLS and gRPC on one port, that answers with what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

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

/// Answers every request with [`Echo`] as JSON; the headers `x-zone` and `x-instance` repeat who answered. The path `/status/<code>`
/// answers with that status. A unary gRPC call of any method is answered with the same JSON as its message, and with the status OK.
///
/// # Errors
/// The listener fails.
pub async fn echo(listener: TcpListener, zone: &str, instance: &str) -> Result<()> {
    let who = Arc::new((zone.to_owned(), instance.to_owned()));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = listener.accept().await?;
        let who = who.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let who = who.clone();
                async move { Ok::<_, Infallible>(answer(request, &who.0, &who.1).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("{peer}: {error}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>, zone: &str, instance: &str) -> Response<Body> {
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
    let status = parts
        .uri
        .path()
        .strip_prefix("/status/")
        .and_then(|code| code.parse().ok())
        .unwrap_or(StatusCode::OK);
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
