//! Connections to the data plane server of a zone, as proxies open them: HTTP/2 over verified TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use meshspan_demo::ControlPlane;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Where the data plane server of a control plane is, also while it does not run.
#[derive(Clone)]
pub struct DataPlaneServer {
    /// `host:port`
    authority: String,
    address: SocketAddr,
    connector: TlsConnector,
}

impl DataPlaneServer {
    /// That of `control_plane`.
    ///
    /// # Errors
    /// The control plane has no CA file.
    pub fn of(control_plane: &ControlPlane) -> Result<Self> {
        let url = control_plane.dp_url();
        let authority = url
            .strip_prefix("https://")
            .context("the data plane server speaks TLS")?
            .to_owned();
        Ok(Self {
            address: authority
                .parse()
                .with_context(|| format!("{authority} is no address"))?,
            authority,
            connector: TlsConnector::from(Arc::new(trust(control_plane)?)),
        })
    }

    /// Opens a connection of its own.
    ///
    /// # Errors
    /// The control plane is not reachable, or its certificate does not fit.
    pub async fn connect(&self) -> Result<Channel> {
        let (address, connector) = (self.address, self.connector.clone());
        let connect = tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let stream = connector.connect(ServerName::from(address.ip()), stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // TLS is the connector's: to tonic this is a plain connection.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority))
            .context("the address of the data plane server")?;
        endpoint
            .connect_with_connector(connect)
            .await
            .with_context(|| format!("connecting to {address}"))
    }
}

/// Opens a connection of its own.
///
/// # Errors
/// See [`DataPlaneServer`].
pub async fn connect(control_plane: &ControlPlane) -> Result<Channel> {
    DataPlaneServer::of(control_plane)?.connect().await
}

fn trust(control_plane: &ControlPlane) -> Result<ClientConfig> {
    let path = control_plane.ca_file();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).with_context(|| format!("reading {}", path.display()))? {
        roots
            .add(certificate.with_context(|| format!("reading {}", path.display()))?)
            .context("using the CA")?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
