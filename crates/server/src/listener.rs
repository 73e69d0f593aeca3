//! Accepts connections, plain or TLS, and serves HTTP/1.1 and HTTP/2 on them: REST, bootstrap and gRPC alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use meshspan_api::ConnectionScheme;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Time for a TLS handshake, and for the headers of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between HTTP/2 pings, and how long an answer may take: a host that vanished is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Largest window of unread bytes on one stream.
const STREAM_WINDOW: u32 = 1 << 20;
/// Connections at one port; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;

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

/// Serves until `stop`; open connections are then asked to finish.
pub async fn serve(server: Server, stop: CancellationToken, tasks: TaskTracker) {
    let limit = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
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
        let Ok(permit) = limit.clone().acquire_owned().await else {
            return;
        };
        let (tls, router, stop) = (server.tls.clone(), server.router.clone(), stop.clone());
        tasks.spawn(async move {
            connection(stream, peer, tls, router, stop).await;
            drop(permit);
        });
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    stop: CancellationToken,
) {
    // Updates are small and urgent.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    match tls {
        None => serve_http(stream, peer, ConnectionScheme::Http, router, stop).await,
        Some(config) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => serve_http(stream, peer, ConnectionScheme::Https, router, stop).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
    }
}

async fn serve_http<S>(stream: S, peer: SocketAddr, scheme: ConnectionScheme, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(scheme);
        request
            .extensions_mut()
            .insert(tonic::transport::server::TcpConnectInfo {
                local_addr: None,
                remote_addr: Some(peer),
            });
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
