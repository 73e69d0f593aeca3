//! Certificates of the control plane's servers: given by the operator, or made at first start and kept.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use meshspan_identity::ServerCertificate;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

use crate::files;
use crate::settings::Settings;

/// Lifetime of a certificate made here.
const LIFETIME: Duration = Duration::days(3650);

/// A certificate chain with its key, and the CA by which proxies verify it.
#[derive(Clone)]
pub struct ServerTls {
    /// Given to proxies as trust anchor; the last certificate of the chain if the operator gave the chain.
    pub ca_pem: String,
    cert_pem: String,
    key_pem: String,
    /// Where it comes from, for messages.
    source: String,
}

impl ServerTls {
    /// The certificate of one server: its own files (the settings `tlsCertFile` and `tlsKeyFile` in `section`), else the
    /// general ones, else the one made at first start.
    ///
    /// # Errors
    /// A file that cannot be read or written, with its path and its setting.
    pub fn load(section: &str, cert_file: &str, key_file: &str, settings: &Settings) -> Result<Self> {
        let general = &settings.general;
        let files = [
            (section, cert_file, key_file),
            ("general", &general.tls_cert_file, &general.tls_key_file),
        ];
        match files
            .into_iter()
            .find(|(_, cert, key)| !cert.is_empty() || !key.is_empty())
        {
            Some((section, cert, key)) if cert.is_empty() || key.is_empty() => {
                bail!(
                    "{section}.tlsCertFile and {section}.tlsKeyFile must be set together: certificate is \"{cert}\", key is \"{key}\""
                )
            }
            Some((section, cert, key)) => {
                let cert_pem = read(Path::new(cert)).with_context(|| format!("{section}.tlsCertFile"))?;
                let ca_pem = last_certificate(&cert_pem)
                    .with_context(|| format!("{section}.tlsCertFile: {cert} holds no certificate"))?;
                Ok(Self {
                    ca_pem,
                    cert_pem,
                    key_pem: read(Path::new(key)).with_context(|| format!("{section}.tlsKeyFile"))?,
                    source: format!("{section}.tlsCertFile and {section}.tlsKeyFile"),
                })
            }
            None => made_at_first_start(settings),
        }
    }

    /// The server's own certificate.
    ///
    /// # Errors
    /// If the chain is empty or no PEM.
    pub fn certificate(&self) -> Result<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).with_context(|| self.source.clone())
    }

    /// Configuration of a TLS server that speaks these protocols.
    ///
    /// # Errors
    /// If certificate and key do not fit.
    pub fn server_config(&self, alpn: &[&str]) -> Result<Arc<rustls::ServerConfig>> {
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("{}: the certificate", self.source))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .with_context(|| format!("{}: the key", self.source))?;
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .with_context(|| format!("{} do not fit together", self.source))?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

fn made_at_first_start(settings: &Settings) -> Result<ServerTls> {
    let folder = settings.work_dir();
    let [ca, cert, key] = ["ca.pem", "tls-cert.pem", "tls-key.pem"].map(|name| folder.join(name));
    if [&ca, &cert, &key].into_iter().all(|path| path.exists()) {
        return Ok(ServerTls {
            ca_pem: read(&ca)?,
            cert_pem: read(&cert)?,
            key_pem: read(&key)?,
            source: made_files(&folder),
        });
    }
    fs::create_dir_all(&folder).with_context(|| {
        format!(
            "cannot create {}: set KUMA_GENERAL_WORK_DIR to a writable folder",
            folder.display()
        )
    })?;
    let names = names(settings);
    let made = ServerCertificate::generate(&names, OffsetDateTime::now_utc(), LIFETIME)?;
    write(&key, &made.key_pem, 0o600)?;
    write(&cert, &made.cert_pem, 0o644)?;
    write(&ca, &made.ca_pem, 0o644)?;
    tracing::info!(names = names.join(", "), ca = %ca.display(), "made a server certificate; proxies and zones verify it with this CA");
    Ok(ServerTls {
        ca_pem: made.ca_pem,
        cert_pem: made.cert_pem,
        key_pem: made.key_pem,
        source: made_files(&folder),
    })
}

fn made_files(folder: &Path) -> String {
    format!("tls-cert.pem and tls-key.pem in {}", folder.display())
}

/// The names under which proxies and zones may call: what the operator says, this host's name and its addresses.
fn names(settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(hostname());
    names.extend(primary_address().map(|address| address.to_string()));
    names.extend(settings.general.tls_names.iter().cloned());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// This host's name, if it can stand in a certificate.
pub fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_ascii_lowercase();
    meshspan_model::name::check_subdomain(&name).is_ok().then_some(name)
}

/// The address from which this host would call others; nothing is sent to find it out.
pub fn primary_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

fn last_certificate(chain: &str) -> Option<String> {
    let start = chain.rfind("-----BEGIN CERTIFICATE-----")?;
    chain.get(start..).map(str::to_owned)
}

fn read(path: &Path) -> Result<String> {
    files::read(path, files::MAX_PEM).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file as a whole or not at all, so that a crash leaves no half of one.
fn write(path: &PathBuf, text: &str, mode: u32) -> Result<()> {
    let temporary = path.with_extension("new");
    let result = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    result.with_context(|| {
        format!(
            "cannot write {}: set KUMA_GENERAL_WORK_DIR to a writable folder",
            path.display()
        )
    })
}
