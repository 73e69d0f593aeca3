//! Connections to the control plane's data plane server: address, TLS, mark. Both the bootstrap request and the agent
//! stream use them.

use crate::socket::{self, SocketMark};
use crate::tls::{self, Trust};
use crate::wrong_server;
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Short enough that a resolver that does not answer is reported within 5 s.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(4);

/// Any byte stream that an HTTP connection can run on.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// HTTP version to negotiate (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Why an address or its trust settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneAddressError {
    /// Not a URL that can be used.
    #[error("--cp-address {address:?}: {reason}; write it like https://control-plane:5678")]
    Invalid {
        /// As given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// HTTPS without anything to verify the server by.
    #[error(
        "--cp-address {address}: nothing to verify the control plane by; give its CA with --ca-cert-file \
         (KUMA_CONTROL_PLANE_CA_CERT_FILE), or accept any certificate with --skip-verify"
    )]
    NoTrust {
        /// As given.
        address: String,
    },
    /// The CA cannot be used.
    #[error("{0}")]
    Trust(String),
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name resolution failed.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// Host of `--cp-address`.
        host: String,
        /// Cause.
        source: io::Error,
    },
    /// No address accepted a connection.
    #[error("cannot connect to {address}: {source}{hint}")]
    Tcp {
        /// Host and port.
        address: String,
        /// Cause, of the last address tried.
        source: io::Error,
        /// What must be named instead.
        hint: String,
    },
    /// The server's certificate is not acceptable. Retrying does not help.
    #[error(
        "the certificate of {address} was refused: {reason}; --ca-cert-file must hold the CA that signed it, \
         and --cp-address must use a name or address that the certificate lists"
    )]
    Certificate {
        /// Host and port.
        address: String,
        /// What TLS says.
        reason: String,
    },
    /// The handshake failed otherwise.
    #[error("TLS handshake with {address} failed: {reason}{hint}")]
    Tls {
        /// Host and port.
        address: String,
        /// Cause, as far as it is understood in words that help.
        reason: String,
        /// What must be named instead.
        hint: String,
    },
}

/// Where the control plane is and how it is trusted.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    host: String,
    port: u16,
    tls: Option<Tls>,
    mark: SocketMark,
}

#[derive(Clone)]
struct Tls {
    server_name: ServerName<'static>,
    config: Arc<rustls::ClientConfig>,
}

impl ControlPlane {
    /// `trust` may be `None` only for `http://`.
    pub(crate) fn new(address: &str, trust: Option<Trust>, mark: SocketMark) -> Result<Self, ControlPlaneAddressError> {
        let invalid = |reason: String| ControlPlaneAddressError::Invalid {
            address: address.to_owned(),
            reason,
        };
        let uri: http::Uri = address
            .trim_end_matches('/')
            .parse()
            .map_err(|error| invalid(format!("{error}")))?;
        let host = uri.host().ok_or_else(|| invalid("has no host".to_owned()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(5678);
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let trust = trust.ok_or_else(|| ControlPlaneAddressError::NoTrust {
                    address: address.to_owned(),
                })?;
                let config =
                    tls::client_config(&trust).map_err(|error| ControlPlaneAddressError::Trust(error.to_string()))?;
                let server_name = ServerName::try_from(host.clone()).map_err(|error| invalid(error.to_string()))?;
                Some(Tls {
                    server_name,
                    config: Arc::new(config),
                })
            }
            _ => return Err(invalid("is not an http or https URL".to_owned())),
        };
        Ok(Self { host, port, tls, mark })
    }

    /// `host:port`, with brackets around an IPv6 address; also the HTTP `Host`.
    pub(crate) fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// One new connection, ready for HTTP.
    pub(crate) async fn connect(&self, protocol: Protocol) -> Result<Box<dyn Io>, ConnectError> {
        let tcp = self.connect_tcp().await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let mut config = tls.config.as_ref().clone();
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let handshake = TlsConnector::from(Arc::new(config)).connect(tls.server_name.clone(), tcp);
        match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(self.handshake_error(error)),
            Err(_) => Err(self.handshake_error(io::ErrorKind::TimedOut.into())),
        }
    }

    /// The addresses of the host's name, by the hosts file and the resolvers of this host.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let resolved = tokio::time::timeout(
            RESOLVE_TIMEOUT,
            tokio::net::lookup_host((self.host.as_str(), self.port)),
        );
        let addresses = resolved
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "no answer within {} s from the DNS resolvers of this host",
                        RESOLVE_TIMEOUT.as_secs()
                    ),
                ))
            })
            .map_err(|source| ConnectError::Resolve {
                host: self.host.clone(),
                source,
            })?;
        Ok(addresses.collect())
    }

    async fn connect_tcp(&self) -> Result<tokio::net::TcpStream, ConnectError> {
        let addresses = self.resolve().await?;
        let mut last: io::Error = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses {
            match tokio::time::timeout(CONNECT_TIMEOUT, socket::tcp_connect(address, None, self.mark)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(ConnectError::Tcp {
            address: self.authority(),
            source: last,
            // Nobody listens: the address may well be right.
            hint: match self.is_known_otherwise() {
                true => self.hint(),
                false => String::new(),
            },
        })
    }

    /// True if another server has the port of `--cp-address` by default.
    pub(crate) fn is_known_otherwise(&self) -> bool {
        wrong_server::known(self.port).is_some()
    }

    /// True if the address says TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What `--cp-address` must name, where what it names is no data plane server.
    pub(crate) fn hint(&self) -> String {
        wrong_server::hint(self.port)
    }

    fn handshake_error(&self, source: io::Error) -> ConnectError {
        let address = self.authority();
        match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error @ rustls::Error::InvalidCertificate(_)) => ConnectError::Certificate {
                address,
                reason: wrong_server::tls(error),
            },
            tls => ConnectError::Tls {
                address,
                reason: tls.map_or_else(|| source.to_string(), wrong_server::tls),
                hint: self.hint(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn new(address: &str) -> Result<ControlPlane, ControlPlaneAddressError> {
        ControlPlane::new(address, Some(Trust::Anything), SocketMark::default())
    }

    #[test]
    fn authorities_keep_brackets_and_default_port() {
        assert_eq!(new("https://cp.example").unwrap().authority(), "cp.example:5678");
        assert_eq!(new("https://10.0.0.1:1/").unwrap().authority(), "10.0.0.1:1");
        assert_eq!(new("https://[::1]:9").unwrap().authority(), "[::1]:9");
    }

    #[test]
    fn bad_addresses_are_explained() {
        for bad in ["cp:5678", "ftp://cp", "https://", ""] {
            assert!(
                matches!(new(bad), Err(ControlPlaneAddressError::Invalid { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn https_needs_something_to_trust() {
        let error = ControlPlane::new("https://cp:5678", None, SocketMark::default())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("--ca-cert-file") && error.contains("--skip-verify"),
            "{error}"
        );
        assert!(ControlPlane::new("http://cp:5678", None, SocketMark::default()).is_ok());
    }
}
