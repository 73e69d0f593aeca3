//! The UDP socket of the server. One that listens on all addresses must answer from the address that was asked: where queries are redirected,
//! the kernel knows the answer by it, and clients take no answer from elsewhere.

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Asked of the kernel, which gives what `net.core.rmem_max` allows.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Bound, and not yet part of a runtime.
#[derive(Debug)]
pub(super) struct Bound(std::net::UdpSocket);

/// Part of the current runtime.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    /// `None` where one address is listened on: answers come from no other.
    addresses: Option<UdpSocketState>,
}

/// Where an answer goes, and from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    asked: Option<IpAddr>,
}

/// What was received: datagrams of one client, all but the last of length `each`.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) client: Client,
    pub(super) length: usize,
    pub(super) each: usize,
}

impl Bound {
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(Self(socket.into()))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(super) fn open(self) -> io::Result<Datagrams> {
        let addresses = if self.0.local_addr()?.ip().is_unspecified() {
            Some(UdpSocketState::new((&self.0).into())?)
        } else {
            None
        };
        Ok(Datagrams {
            socket: UdpSocket::from_std(self.0)?,
            addresses,
        })
    }
}

impl Datagrams {
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(state) = &self.addresses else {
            let (length, address) = self.socket.recv_from(buffer).await?;
            let client = Client { address, asked: None };
            return Ok(Received {
                client,
                length,
                each: length,
            });
        };
        loop {
            self.socket.readable().await?;
            let mut meta = [RecvMeta::default()];
            let receive = || state.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta);
            match self.socket.try_io(Interest::READABLE, receive) {
                Ok(_) => {
                    let [meta] = meta;
                    let client = Client {
                        address: meta.addr,
                        asked: meta.dst_ip,
                    };
                    return Ok(Received {
                        client,
                        length: meta.len,
                        each: meta.stride,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn send(&self, answer: &[u8], client: Client) -> io::Result<()> {
        let Some(state) = &self.addresses else {
            return self.socket.send_to(answer, client.address).await.map(drop);
        };
        let transmit = Transmit {
            destination: client.address,
            ecn: None,
            contents: answer,
            segment_size: None,
            src_ip: client.asked,
        };
        loop {
            self.socket.writable().await?;
            let sent = self
                .socket
                .try_io(Interest::WRITABLE, || state.try_send((&self.socket).into(), &transmit));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }
}
