//! Sockets that the agent opens towards others: with `SO_MARK` (so that interception can leave them alone), and with a
//! chosen source address.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// The mark of the agent's sockets; 0 leaves them unmarked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SocketMark(pub(crate) u32);

impl SocketMark {
    /// Fails where the process may not set the mark, with the remedy in the text.
    pub(crate) fn check(self) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        self.apply(&socket).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("socket mark {} cannot be set ({error}): --socket-mark needs CAP_NET_ADMIN in this network namespace", self.0),
            )
        })
    }

    fn apply(self, socket: &Socket) -> io::Result<()> {
        if self.0 == 0 { Ok(()) } else { socket.set_mark(self.0) }
    }
}

/// Connects by TCP, from `source` if given.
pub(crate) async fn tcp_connect(target: SocketAddr, source: Option<IpAddr>, mark: SocketMark) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    mark.apply(&socket)?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    let stream = TcpSocket::from_std_stream(socket.into()).connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A UDP socket that sends to, and hears from, `target` alone.
pub(crate) async fn udp_connect(target: SocketAddr, mark: SocketMark) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(Protocol::UDP))?;
    mark.apply(&socket)?;
    socket.set_nonblocking(true)?;
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(target).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn sockets_are_marked_or_the_remedy_is_named() {
        let mark = SocketMark(0x1234);
        if let Err(error) = mark.check() {
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
            return;
        }
        let socket = udp_connect("127.0.0.1:9".parse().unwrap(), mark).await.unwrap();
        assert_eq!(socket2::SockRef::from(&socket).mark().unwrap(), 0x1234);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = Ipv4Addr::new(127, 0, 0, 6).into();
        let stream = tcp_connect(listener.local_addr().unwrap(), Some(source), mark)
            .await
            .unwrap();
        assert_eq!(socket2::SockRef::from(&stream).mark().unwrap(), 0x1234);
        assert_eq!(stream.local_addr().unwrap().ip(), source);
    }
}
