//! The listeners of the DNS server.
//!
//! UDP queries are received, and names of the mesh answered, by a thread that does nothing else. What others must answer waits in a queue of
//! its own, so that however much of it there is, and however busy the agent, a name of the mesh does not wait for it, nor is a query
//! lost because nobody fetched it from the kernel.

use super::answer::{self, Decision};
use super::datagrams::{Bound, Client, Datagrams};
use super::forward::Forwarder;
use super::{Table, Transport};
use crate::socket::SocketMark;
use hickory_proto::op::ResponseCode;
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// UDP queries that are with the resolvers at the same time.
const MAX_FORWARDED: usize = 512;
/// UDP queries that wait for one of these places; further ones get SERVFAIL at once.
const MAX_WAITING: usize = 4096;
/// After this time the client has given up or asks again.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
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
    udp: Bound,
    tcp: TcpListener,
    service: Service,
}

/// A query for the resolvers.
#[derive(Debug)]
struct Waiting {
    request: Vec<u8>,
    client: Client,
    since: Instant,
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
        let udp = Bound::new(address).map_err(error("UDP"))?;
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
        let (waiting, queue) = mpsc::channel(MAX_WAITING);
        // Dropped with this future, which ends the thread.
        let (_serving, stop) = oneshot::channel();
        let receiver = receive_in_a_thread(&self.udp, self.service.clone(), waiting, stop);
        let answers = receiver.and_then(|()| self.udp.open());
        let answers = match answers {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!("DNS over UDP: {error}");
                return;
            }
        };
        tokio::select! {
            // Ends only if the receiving thread did.
            () = forward_waiting(answers, self.service.clone(), queue) => {}
            () = serve_tcp(self.tcp, self.service) => {}
        }
    }
}

fn receive_in_a_thread(
    socket: &Bound,
    service: Service,
    waiting: mpsc::Sender<Waiting>,
    stop: oneshot::Receiver<()>,
) -> io::Result<()> {
    let socket = socket.try_clone()?;
    std::thread::Builder::new().name("dns".to_owned()).spawn(move || {
        let served = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| {
                runtime.block_on(async {
                    let socket = socket.open()?;
                    tokio::select! {
                        () = receive(&socket, &service, &waiting) => {}
                        _ = stop => {}
                    }
                    Ok(())
                })
            });
        if let Err(error) = served {
            tracing::error!("DNS over UDP: {error}");
        }
    })?;
    Ok(())
}

impl Service {
    fn decide(&self, request: &[u8], transport: Transport) -> Decision {
        answer::decide(request, &self.table, &self.forwarder.resolv_conf().search, transport)
    }

    async fn forward(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let answer = self.forwarder.ask(request, transport).await;
        answer.or_else(|| answer::failure(request, ResponseCode::ServFail))
    }
}

async fn receive(socket: &Datagrams, service: &Service, waiting: &mpsc::Sender<Waiting>) {
    let mut loop_reported = false;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let received = match socket.receive(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("DNS over UDP: {error}");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let datagrams = buffer.get(..received.length).unwrap_or_default();
        for request in datagrams.chunks(received.each.max(1)) {
            let client = received.client;
            match service.decide(request, Transport::Udp) {
                Decision::Ignore => {}
                Decision::Answer(answer) => reply(socket, &answer, client).await,
                Decision::Forward => {
                    let is_loop = service.forwarder.is_own_question(client.address);
                    if is_loop && !std::mem::replace(&mut loop_reported, true) {
                        report_loop(client.address);
                    }
                    let question = Waiting {
                        request: request.to_vec(),
                        client,
                        since: Instant::now(),
                    };
                    if (is_loop || waiting.try_send(question).is_err())
                        && let Some(failure) = answer::failure(request, ResponseCode::ServFail)
                    {
                        reply(socket, &failure, client).await;
                    }
                }
            }
        }
    }
}

fn report_loop(client: SocketAddr) {
    tracing::error!(
        %client,
        "DNS loop: the agent's own question to a resolver came back to it; interception must exclude the agent: install it with \
         --kuma-dp-user set to the user the agent runs as, or run the agent with the --socket-mark that the rules exclude"
    );
}

async fn forward_waiting(socket: Datagrams, service: Service, mut queue: mpsc::Receiver<Waiting>) {
    let socket = Arc::new(socket);
    let places = Arc::new(Semaphore::new(MAX_FORWARDED));
    // The semaphore is never closed. The queue ends with the thread that fills it, and that with this future.
    while let (Ok(place), Some(question)) = (places.clone().acquire_owned().await, queue.recv().await) {
        if question.since.elapsed() > CLIENT_PATIENCE {
            continue;
        }
        let (socket, service) = (socket.clone(), service.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Some(answer) = service.forward(&question.request, Transport::Udp).await {
                reply(&socket, &answer, question.client).await;
            }
        });
    }
}

async fn reply(socket: &Datagrams, answer: &[u8], client: Client) {
    let mut sent = socket.send(answer, client).await;
    // On a socket that listens on all addresses nothing is cut into fragments: the client comes back over TCP.
    if sent
        .as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()))
        && let Some(truncated) = answer::truncated(answer)
    {
        sent = socket.send(&truncated, client).await;
    }
    if let Err(error) = sent {
        tracing::debug!(client = %client.address, "DNS answer cannot be sent: {error}");
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
