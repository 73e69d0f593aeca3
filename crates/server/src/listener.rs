//! Accepts connections, plain or TLS, and serves HTTP/1.1 and HTTP/2 on them: REST, bootstrap and gRPC alike.

mod activity;
mod body;
mod first_message;
mod limits;
mod patience;
mod places;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::IntoResponse as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use meshspan_api::ConnectionScheme;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use activity::{Activity, Answer};
use body::{Bounded, Held};
use first_message::FirstMessage;
use limits::{Connections, Refusal, Share};
pub use limits::{Limit, Purpose, open_files};
use patience::Backlog;

/// Time for a TLS handshake, and for the headers of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between HTTP/2 pings, and how long an answer may take of a peer that was sent little lately: a host that vanished is
/// noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Largest window of unread bytes on one stream.
const STREAM_WINDOW: u32 = 1 << 20;
/// Longest head of an HTTP/1 request, in bytes: a token of the largest size and as much again for everything else.
const MAX_HEAD: usize = 64 << 10;
/// How long a connection that has ended may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two messages about connections that were not taken.
const REFUSALS_REPORTED: Duration = Duration::from_secs(10);

/// One port.
pub struct Server {
    /// For messages: what is served here.
    pub name: &'static str,
    /// The port, already bound.
    pub listener: TcpListener,
    /// TLS, or plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What is served.
    pub router: Router,
    /// Which of that are streams of gRPC: full names of services.
    pub streams: &'static [&'static str],
    /// How many connections are taken.
    pub limit: Limit,
}

/// Binds a port.
///
/// # Errors
/// With the name of the server, the address, and how to choose another.
pub async fn bind(name: &str, address: SocketAddr, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{name} cannot listen on {address}: end what uses the port, or choose another with {setting}")
    })
}

/// What all connections of a port share.
#[derive(Clone)]
struct Port {
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    streams: &'static [&'static str],
    limit: Limit,
    share: Share,
    stop: CancellationToken,
}

/// Serves until `stop`; open connections are then asked to finish.
pub async fn serve(server: Server, stop: CancellationToken, tasks: TaskTracker) {
    let connections = Connections::new(server.limit);
    let port = Port {
        tls: server.tls,
        router: server.router,
        streams: server.streams,
        limit: server.limit,
        share: connections.share(),
        stop: stop.clone(),
    };
    let mut refused = Refused::default();
    loop {
        let accepted = tokio::select! {
            accepted = server.listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly; the next accept would fail at once again.
                tracing::warn!(server = server.name, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let permit = match connections.admit(peer.ip()) {
            Ok(permit) => permit,
            // Closed at once, so that the peer can tell, and those in the kernel's queue behind it get their turn.
            Err(refusal) => {
                refused.report(server.name, peer, refusal, connections.limit());
                continue;
            }
        };
        let port = port.clone();
        tasks.spawn(async move {
            connection(stream, peer, port, permit.share.clone()).await;
            drop(permit);
        });
    }
}

/// Connections that were not taken, reported from time to time: whoever opens too many must not fill the log.
#[derive(Default)]
struct Refused {
    since: u64,
    reported: Option<tokio::time::Instant>,
}

impl Refused {
    fn report(&mut self, server: &str, peer: SocketAddr, refusal: Refusal, limit: Limit) {
        self.since += 1;
        if self.reported.is_some_and(|last| last.elapsed() < REFUSALS_REPORTED) {
            return;
        }
        let why = match refusal {
            Refusal::Full => format!(
                "this port has {} already, all it may have (see ulimit -Hn)",
                limit.total
            ),
            Refusal::Peer => format!("this peer has {} already, all that one may have", limit.per_peer),
        };
        tracing::warn!(server, %peer, refused = self.since, "connections are closed at once: {why}");
        self.since = 0;
        self.reported = Some(tokio::time::Instant::now());
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, port: Port, of_peer: Share) {
    // Updates are small and urgent.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    match port.tls.clone() {
        None => serve_http(stream, peer, ConnectionScheme::Http, port, of_peer).await,
        Some(config) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => serve_http(stream, peer, ConnectionScheme::Https, port, of_peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
    }
}

async fn serve_http<S>(stream: S, peer: SocketAddr, scheme: ConnectionScheme, port: Port, of_peer: Share)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stop, limit) = (port.stop.clone(), port.limit);
    let activity = Activity::default();
    let seen = activity.clone();
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(scheme);
        request
            .extensions_mut()
            .insert(tonic::transport::server::TcpConnectInfo {
                local_addr: None,
                remote_addr: Some(peer),
            });
        let (port, of_peer) = (port.clone(), of_peer.clone());
        let is_stream = is_stream(request.uri().path(), port.streams);
        let (in_flight, held) = (seen.request(is_stream), Held::default());
        async move {
            let memory = [of_peer.memory, port.share.memory];
            let (answer, place) = if is_stream {
                let request = request.map(|body| axum::body::Body::new(FirstMessage::new(body, memory)));
                (port.router.oneshot(request).await?, None)
            } else {
                let request = request.map(|body| axum::body::Body::new(Bounded::new(body, memory, held.clone())));
                match of_peer
                    .places
                    .enter(&port.share.places, request.method().is_safe())
                    .await
                {
                    Ok(mut place) => {
                        let answer = port.router.oneshot(request).await?;
                        place.is_computed();
                        (answer, Some(place))
                    }
                    Err(busy) => (busy.into_response(), None),
                }
            };
            Ok::<_, std::convert::Infallible>(answer.map(|body| Answer {
                body,
                request: in_flight,
                _held: (held, place),
            }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(MAX_HEAD)
        .header_read_timeout(HANDSHAKE_TIMEOUT);
    let backlog = Backlog::default();
    builder
        .http2()
        .timer(backlog.timer())
        .max_concurrent_streams(limit.streams)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(backlog.counting(stream)), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = activity.ceased() => {
            tracing::debug!(%peer, "connection closed: nothing happens on it");
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// By the path, for a header is the caller's choice.
fn is_stream(path: &str, services: &[&str]) -> bool {
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    service.is_some_and(|(service, _)| services.contains(&service))
}

#[cfg(test)]
mod tests {
    use super::is_stream;

    #[test]
    fn streams_are_known_by_their_path() {
        let services = crate::dp::STREAMS;
        for service in services {
            assert!(is_stream(&format!("/{service}/Call"), services));
            assert!(!is_stream(&format!("/{service}"), services));
            assert!(!is_stream(&format!("/x{service}/Call"), services));
            assert!(!is_stream(&format!("/{service}/Call"), &[]));
        }
        assert!(!is_stream("/bootstrap", services));
        assert!(!is_stream("", services));
    }
}
