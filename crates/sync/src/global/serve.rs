//! Listens for zones: HTTP/2, with or without TLS.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{GlobalSync, PeerAddress};
use crate::WINDOW;

/// After this long without a frame a zone is pinged. Zones of any make answer pings; only the opposite direction is
/// limited by the reference.
const PING_AFTER: Duration = Duration::from_secs(1);
/// A zone that does not answer a ping for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit of a TLS handshake, and of the time until the first request after it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections at once; more wait in the queue of the kernel.
const MAX_CONNECTIONS: usize = 1000;

impl GlobalSync {
    /// Serves zones until the cancellation given to [`GlobalSync::start`]; then ends all connections and returns when
    /// their ends are written down.
    ///
    /// # Errors
    /// [`io::Error`] if the listener fails for good.
    pub async fn serve(&self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        let acceptor = tls.map(TlsAcceptor::from);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accept = async || {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?, place))
        };
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                () = self.shared.cancel.cancelled() => {
                    self.finished().await;
                    return Ok(());
                }
            };
            match accepted {
                Ok(((stream, address), place)) => {
                    let (server, acceptor) = (self.clone(), acceptor.clone());
                    tokio::spawn(async move {
                        if let Err(error) = server.connection(stream, PeerAddress(address), acceptor).await {
                            tracing::debug!(%address, %error, "connection of a zone failed");
                        }
                        drop(place);
                    });
                }
                // Out of file descriptors, or the peer gave up while waiting: the listener itself is fine.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(
        &self,
        stream: TcpStream,
        address: PeerAddress,
        acceptor: Option<TlsAcceptor>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        match acceptor {
            Some(acceptor) => {
                let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
                self.http(stream, address).await
            }
            None => self.http(stream, address).await,
        }
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: PeerAddress,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let asked = Arc::new(AtomicBool::new(false));
        let asks = Arc::clone(&asked);
        let (server, routes) = (self.clone(), self.routes().prepare());
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            asks.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(address);
            let refused = server.check_head(request.headers(), address).err();
            let routes = routes.clone();
            async move {
                match refused {
                    Some(status) => Ok(status.into_http()),
                    None => routes.oneshot(request).await,
                }
            }
        });
        let mut builder = Builder::new(TokioExecutor::new()).http2_only();
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let silent = async {
            tokio::time::sleep(HANDSHAKE).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            result = connection.as_mut() => return result,
            () = silent => return Err("no request came in time".into()),
            () = self.shared.cancel.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        // Streams end by themselves with the cancellation; a peer that does not read must not hold us up.
        tokio::time::timeout(PING_TIMEOUT, connection).await.unwrap_or(Ok(()))
    }
}
