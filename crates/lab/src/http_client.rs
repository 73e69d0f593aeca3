//! An HTTP client of an application on a host.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::host::Host;

/// Longest time for a request and its answer.
const LIMIT: Duration = Duration::from_secs(30);
/// Largest body that is read.
const MAX_BODY: usize = 16 << 20;

/// Protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 without TLS, known beforehand.
    Http2,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// One connection; requests follow one another on it.
pub struct HttpConnection {
    sender: Sender,
    authority: String,
    driver: JoinHandle<()>,
}

impl HttpConnection {
    /// Connects from `host` to `authority` (`name:port` or `address:port`); names are looked up as an application does.
    ///
    /// # Errors
    /// No address, no connection, or the other side does not speak the protocol.
    pub async fn open(host: &Host, authority: &str, version: HttpVersion) -> Result<Self> {
        let stream = host.connect(locate(host, authority).await?).await?;
        Self::over(stream, authority, version).await
    }

    /// Uses an open connection; `authority` is what requests name.
    ///
    /// # Errors
    /// The other side does not speak the protocol.
    pub async fn over(stream: TcpStream, authority: &str, version: HttpVersion) -> Result<Self> {
        let io = TokioIo::new(stream);
        let (sender, driver) = match version {
            HttpVersion::Http1 => {
                let (sender, connection) = http1::handshake(io).await.context("starting HTTP/1.1")?;
                // A broken connection shows in the request that it breaks.
                (
                    Sender::Http1(sender),
                    tokio::spawn(async move { drop(connection.await) }),
                )
            }
            HttpVersion::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .context("starting HTTP/2")?;
                (
                    Sender::Http2(sender),
                    tokio::spawn(async move { drop(connection.await) }),
                )
            }
        };
        Ok(Self {
            sender,
            authority: authority.to_owned(),
            driver,
        })
    }

    /// Sends a request. Its URI is a path; the authority is that of the connection. Trailers of the answer are added to its headers.
    ///
    /// # Errors
    /// The connection broke, no answer within 30 seconds, or a body over 16 MiB. Any status is an answer.
    pub async fn send(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>> {
        let exchange = async {
            let response = match &mut self.sender {
                Sender::Http1(sender) => {
                    let host = header::HeaderValue::from_str(&self.authority)?;
                    request.headers_mut().entry(header::HOST).or_insert(host);
                    sender.ready().await?;
                    sender.send_request(request.map(Full::new)).await?
                }
                Sender::Http2(sender) => {
                    let path = request
                        .uri()
                        .path_and_query()
                        .map_or("/", |path| path.as_str())
                        .to_owned();
                    *request.uri_mut() = Uri::builder()
                        .scheme("http")
                        .authority(self.authority.as_str())
                        .path_and_query(path)
                        .build()?;
                    sender.ready().await?;
                    sender.send_request(request.map(Full::new)).await?
                }
            };
            collect(response).await
        };
        match timeout(LIMIT, exchange).await {
            Ok(response) => response.with_context(|| format!("requesting from {}", self.authority)),
            Err(_) => bail!("{} did not answer within {} seconds", self.authority, LIMIT.as_secs()),
        }
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Sends one request on a connection of its own. The URI is absolute: `http://name:port/path`.
///
/// # Errors
/// As for [`HttpConnection`].
pub async fn http_request(host: &Host, version: HttpVersion, mut request: Request<Bytes>) -> Result<Response<Bytes>> {
    let uri = request.uri().clone();
    let name = uri.host().with_context(|| format!("{uri} names no host"))?;
    let authority = format!("{name}:{}", uri.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().context("the path of the request")?;
    HttpConnection::open(host, &authority, version)
        .await?
        .send(request)
        .await
}

/// `GET` over HTTP/1.1 on a connection of its own.
///
/// # Errors
/// As for [`HttpConnection`].
pub async fn http_get(host: &Host, url: &str) -> Result<Response<Bytes>> {
    let request = Request::get(url)
        .body(Bytes::new())
        .with_context(|| format!("not a URL: {url:?}"))?;
    http_request(host, HttpVersion::Http1, request).await
}

async fn collect(response: Response<Incoming>) -> Result<Response<Bytes>> {
    let (mut parts, body) = response.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body,
        Err(error) => bail!("reading the body: {error}"),
    };
    // gRPC says how a call ended in trailers; for a caller they are headers that came late.
    parts.headers.extend(body.trailers().cloned().unwrap_or_default());
    Ok(Response::from_parts(parts, body.to_bytes()))
}

async fn locate(host: &Host, authority: &str) -> Result<SocketAddr> {
    if let Ok(address) = authority.parse() {
        return Ok(address);
    }
    let (name, port) = authority
        .rsplit_once(':')
        .with_context(|| format!("{authority:?} is not name:port"))?;
    let port: u16 = port.parse().with_context(|| format!("the port of {authority:?}"))?;
    let addresses = host.resolve(name).await?;
    // As applications do by default on a host without a route for IPv6.
    let address: &IpAddr = addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .with_context(|| format!("{name} has no address on {}", host.name()))?;
    Ok((*address, port).into())
}
