//! Dialling the global: address, TLS and HTTP/2 settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::explain;
use super::files::{MAX_ROOTS, read};
use crate::{DEFAULT_PORT, WINDOW};

/// Limit of connecting, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Idle time before a ping; the reference refuses pings closer than this.
const PING_AFTER: Duration = Duration::from_secs(15);
/// A global that does not answer a ping for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// How the certificate of the global is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Against the root certificates of the system.
    System,
    /// Against the certificates in this PEM file; read at each connection, so that it can be replaced.
    File(PathBuf),
    /// Not at all.
    SkipVerify,
}

impl Trust {
    /// Finds out before the first connection whether the certificates can be used.
    ///
    /// # Errors
    /// [`DialError::RootFile`].
    pub fn check(&self) -> Result<(), DialError> {
        match self {
            Trust::File(path) => roots_of(path).map(drop),
            Trust::System | Trust::SkipVerify => Ok(()),
        }
    }
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address of the global control plane \"{address}\" {reason}; use for example grpcs://global.example:5685")]
pub struct AddressError {
    /// As given.
    pub address: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Certificates of the file cannot be used.
    #[error("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE: root certificates in {} cannot be used: {detail}", path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The TLS settings do not fit together.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Nobody answers, or TLS fails.
    #[error("cannot connect to {address}: {detail}")]
    Connect {
        /// Where.
        address: String,
        /// Why, with all causes.
        detail: String,
    },
}

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    tls: bool,
    /// `host:port`, an IPv6 address in brackets.
    authority: String,
    host: String,
}

impl Target {
    pub(super) fn parse(address: &str) -> Result<Self, AddressError> {
        let error = |reason| AddressError {
            address: address.to_owned(),
            reason,
        };
        let (tls, rest) = match address.split_once("://") {
            Some(("grpcs", rest)) => (true, rest),
            Some(("grpc", rest)) => (false, rest),
            _ => return Err(error("must start with grpcs:// or grpc://")),
        };
        let uri: http::uri::Authority = rest
            .trim_end_matches('/')
            .parse()
            .map_err(|_| error("has no valid host and port"))?;
        if uri.host().is_empty() || uri.as_str().contains('@') {
            return Err(error("has no valid host and port"));
        }
        let port = match uri
            .as_str()
            .strip_prefix(uri.host())
            .and_then(|rest| rest.strip_prefix(':'))
        {
            Some(port) => port
                .parse::<u16>()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| error("has no valid port"))?,
            None => DEFAULT_PORT,
        };
        let host = uri.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            tls,
            authority: format!("{}:{port}", uri.host()),
            host,
        })
    }

    /// A new connection.
    pub(super) async fn dial(&self, trust: &Trust, version: &str) -> Result<Channel, DialError> {
        let connect = |detail: String| DialError::Connect {
            address: self.authority.clone(),
            detail,
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority))
            .and_then(|endpoint| endpoint.user_agent(format!("kds/{version} (meshspan/{})", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| connect(causes(&error)))?
            .connect_timeout(CONNECT)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let tls = if self.tls { Some(self.tls(trust)?) } else { None };
        let connected = async {
            let mut stream = Some(self.open(tls, trust).await.map_err(connect)?);
            // A new connection has new streams and another id, so a channel has one connection for its whole life.
            let connector = tower::service_fn(move |_: http::Uri| {
                let stream = stream.take().map(TokioIo::new);
                async move { stream.ok_or_else(|| std::io::Error::other("the connection ended")) }
            });
            let channel = endpoint.connect_with_connector(connector).await;
            channel.map_err(|error| connect(causes(&error)))
        };
        match tokio::time::timeout(CONNECT, connected).await {
            Ok(connected) => connected,
            Err(_) => Err(connect(format!("no answer within {CONNECT:?}"))),
        }
    }

    async fn open(&self, tls: Option<(TlsConnector, ServerName<'static>)>, trust: &Trust) -> Result<Stream, String> {
        let tcp = TcpStream::connect(&self.authority);
        let stream = tcp.await.map_err(|error| explain::tcp(&error))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match tls {
            None => Ok(Stream::Plain(stream)),
            Some((connector, name)) => match connector.connect(name, stream).await {
                Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
                Err(error) => Err(explain::tls(&error, trust)),
            },
        }
    }

    /// True if the address says TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    fn tls(&self, trust: &Trust) -> Result<(TlsConnector, ServerName<'static>), DialError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls_error = |error: rustls::Error| DialError::Tls(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(tls_error)?;
        let mut config = match trust {
            Trust::SkipVerify => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(NoCheck(provider)))
                .with_no_client_auth(),
            Trust::File(path) => builder.with_root_certificates(roots_of(path)?).with_no_client_auth(),
            Trust::System => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| DialError::Tls(format!("host \"{}\": {error}", self.host)))?;
        Ok((TlsConnector::from(Arc::new(config)), name))
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, DialError> {
    let error = |detail: String| DialError::RootFile {
        path: path.to_owned(),
        detail,
    };
    let mut roots = RootCertStore::empty();
    let bytes = read(path, MAX_ROOTS).map_err(|reason| error(format!("the file {reason}")))?;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|cause| error(cause.to_string()))?;
        roots.add(certificate).map_err(|cause| error(cause.to_string()))?;
    }
    if roots.is_empty() {
        Err(error("the file has no certificate in PEM form".to_owned()))
    } else {
        Ok(roots)
    }
}

/// An error with all its causes.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Accepts any certificate: `tlsSkipVerify`.
#[derive(Debug)]
struct NoCheck(Arc<CryptoProvider>);

impl ServerCertVerifier for NoCheck {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

mod stream;
use stream::Stream;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse = |text: &str| Target::parse(text).map(|target| (target.tls, target.authority, target.host));
        assert_eq!(
            parse("grpcs://global:1"),
            Ok((true, "global:1".into(), "global".into()))
        );
        assert_eq!(
            parse("grpc://10.0.0.1/"),
            Ok((false, "10.0.0.1:5685".into(), "10.0.0.1".into()))
        );
        assert_eq!(
            parse("grpcs://[::1]:5685"),
            Ok((true, "[::1]:5685".into(), "::1".into()))
        );
        for bad in [
            "global:5685",
            "http://global",
            "grpcs://",
            "grpcs://global:0",
            "grpcs://global:99999",
            "grpcs://a b",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
