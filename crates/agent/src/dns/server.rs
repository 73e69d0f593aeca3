//! The listeners of the DNS server.

use super::answer::{self, Decision};
use super::forward::Forwarder;
use super::{Table, Transport};
use crate::socket::SocketMark;
use hickory_proto::op::ResponseCode;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// UDP queries that wait for a resolver at the same time; further ones get SERVFAIL at once.
const MAX_FORWARDED: usize = 512;
const MAX_TCP_CONNECTIONS: usize = 128;
const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept or receive, which would fail again at once (no file descriptors left).
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen and whom to ask.
#[derive(Debug, Clone)]
pub(crate) struct DnsSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) mark: SocketMark,
}

/// The DNS address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "DNS server cannot listen on {address} ({protocol}): {source}; choose another port with --dns-proxy-port, or 0 for no DNS"
)]
pub struct DnsBindError {
    address: SocketAddr,
    protocol: &'static str,
    source: io::Error,
}

/// Both listeners, bound but not yet served.
#[derive(Debug)]
pub(crate) struct DnsServer {
    udp: UdpSocket,
    tcp: TcpListener,
    service: Service,
}

#[derive(Debug, Clone)]
struct Service {
    table: Arc<Table>,
    forwarder: Arc<Forwarder>,
}

impl DnsServer {
    pub(crate) async fn bind(settings: &DnsSettings, table: Arc<Table>) -> Result<Self, DnsBindError> {
        let error = |protocol| {
            move |source| DnsBindError {
                address: settings.listen,
                protocol,
                source,
            }
        };
        let tcp = TcpListener::bind(settings.listen).await.map_err(error("TCP"))?;
        // With port 0 (tests) both must get the same one.
        let address = tcp.local_addr().map_err(error("TCP"))?;
        let udp = UdpSocket::bind(address).await.map_err(error("UDP"))?;
        let forwarder = Forwarder::new(&settings.resolv_conf, address, settings.mark);
        Ok(Self {
            udp,
            tcp,
            service: Service {
                table,
                forwarder: Arc::new(forwarder),
            },
        })
    }

    #[cfg(test)]
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until the future is dropped.
    pub(crate) async fn serve(self) {
        tokio::join!(
            serve_udp(self.udp, self.service.clone()),
            serve_tcp(self.tcp, self.service)
        );
    }
}

impl Service {
    fn decide(&self, request: &[u8], transport: Transport) -> Decision {
        answer::decide(request, &self.table, transport)
    }

    async fn forward(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let answer = self.forwarder.ask(request, transport).await;
        answer.or_else(|| answer::failure(request, ResponseCode::ServFail))
    }
}

async fn serve_udp(socket: UdpSocket, service: Service) {
    let socket = Arc::new(socket);
    let forwarded = Arc::new(Semaphore::new(MAX_FORWARDED));
    let mut loop_reported = false;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("DNS over UDP: {error}");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let Some(request) = buffer.get(..length) else { continue };
        match service.decide(request, Transport::Udp) {
            Decision::Ignore => {}
            Decision::Answer(answer) => reply(&socket, &answer, client).await,
            Decision::Forward => {
                let is_loop = service.forwarder.is_own_question(client);
                if is_loop && !std::mem::replace(&mut loop_reported, true) {
                    tracing::error!(
                        %client,
                        "DNS loop: the agent's own question to a resolver came back to it; interception must exclude \
                         the agent, by the user it runs as or by --socket-mark"
                    );
                }
                let permit = if is_loop {
                    None
                } else {
                    forwarded.clone().try_acquire_owned().ok()
                };
                let Some(permit) = permit else {
                    if let Some(failure) = answer::failure(request, ResponseCode::ServFail) {
                        reply(&socket, &failure, client).await;
                    }
                    continue;
                };
                let (socket, service, request) = (socket.clone(), service.clone(), request.to_vec());
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Some(answer) = service.forward(&request, Transport::Udp).await {
                        reply(&socket, &answer, client).await;
                    }
                });
            }
        }
    }
}

async fn reply(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%client, "DNS answer cannot be sent: {error}");
    }
}

async fn serve_tcp(listener: TcpListener, service: Service) {
    let connections = Arc::new(Semaphore::new(MAX_TCP_CONNECTIONS));
    loop {
        // Never closed, so it cannot fail.
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    // The end of a connection, by the client or by an error, concerns nobody else.
                    let _ = serve_connection(stream, service).await;
                });
            }
            Err(error) => {
                tracing::debug!("DNS over TCP: {error}");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(mut stream: TcpStream, service: Service) -> io::Result<()> {
    loop {
        let receive = async {
            let mut request = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut request).await?;
            io::Result::Ok(request)
        };
        let request = tokio::time::timeout(TCP_IDLE_TIMEOUT, receive).await??;
        let answer = match service.decide(&request, Transport::Tcp) {
            Decision::Ignore => return Ok(()),
            Decision::Answer(answer) => Some(answer),
            Decision::Forward => service.forward(&request, Transport::Tcp).await,
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        tokio::time::timeout(TCP_IDLE_TIMEOUT, stream.write_all(&framed)).await??;
    }
}

#[cfg(test)]
mod tests;
