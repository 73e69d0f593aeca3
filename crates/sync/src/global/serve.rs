//! Listens for zones: HTTP/2, with or without TLS.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use meshspan_log_limit::network_of;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::strangers::{Connections, Stranger, Streams};
use super::{GlobalSync, PeerAddress};
use crate::WINDOW;

/// After this long without a frame a zone is pinged. Zones of any make answer pings; only the opposite direction is
/// limited by the reference.
const PING_AFTER: Duration = Duration::from_secs(1);
/// A zone that does not answer a ping for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit of a TLS handshake, and of the time after it until a stream is let in.
const HANDSHAKE: Duration = Duration::from_secs(10);

impl GlobalSync {
    /// Serves zones until the cancellation given to [`GlobalSync::start`]; then ends all connections and returns when
    /// their ends are written down.
    ///
    /// # Errors
    /// [`io::Error`] if the listener fails for good.
    pub async fn serve(&self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        let acceptor = tls.map(TlsAcceptor::from);
        let connections = Connections::new(self.shared.options.max_connections);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shared.cancel.cancelled() => {
                    self.finished().await;
                    return Ok(());
                }
            };
            match accepted {
                Ok((stream, address)) => {
                    // Closed at once, so that those in the kernel's queue behind it get their turn.
                    let Some((place, stranger)) = connections.accept(address.ip()) else {
                        self.too_many(address.ip());
                        continue;
                    };
                    let (server, acceptor) = (self.clone(), acceptor.clone());
                    tokio::spawn(async move {
                        if let Err(error) = server
                            .connection(stream, PeerAddress(address), acceptor, stranger)
                            .await
                        {
                            tracing::debug!(%address, %error, "connection of a zone failed");
                        }
                        drop(place);
                    });
                }
                // Out of file descriptors: the listener itself is fine.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn too_many(&self, peer: IpAddr) {
        if let Some(held_back) = self.shared.log_limit.allows(&network_of(peer).to_string()) {
            tracing::warn!(
                %peer,
                more = held_back,
                "a connection was closed at once: too many are open on which no zone has shown who it is"
            );
        }
    }

    async fn connection(
        &self,
        stream: TcpStream,
        address: PeerAddress,
        acceptor: Option<TlsAcceptor>,
        stranger: Stranger,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        match acceptor {
            Some(acceptor) => {
                let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
                self.http(stream, address, stranger).await
            }
            None => self.http(stream, address, stranger).await,
        }
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: PeerAddress,
        stranger: Stranger,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let streams = Streams::default();
        let opened = streams.clone();
        let (server, routes) = (self.clone(), self.routes().prepare());
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(address);
            request.extensions_mut().insert(opened.clone());
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
        let served = async {
            tokio::time::timeout(HANDSHAKE, streams.any()).await?;
            drop(stranger);
            streams.none().await;
            Ok::<(), tokio::time::error::Elapsed>(())
        };
        tokio::select! {
            result = connection.as_mut() => return result,
            served = served => {
                served.map_err(|_| "no zone was let in in time")?;
                connection.as_mut().graceful_shutdown();
            }
            () = self.shared.cancel.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        // Streams end by themselves with the cancellation; a peer that does not read must not hold us up.
        tokio::time::timeout(PING_TIMEOUT, connection).await.unwrap_or(Ok(()))
    }
}
