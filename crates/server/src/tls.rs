//! Certificates of the control plane's servers: given by the operator, or made at first start and kept.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use meshspan_identity::ServerCertificate;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

use crate::files;
use crate::settings::Settings;

/// The CA that is made at first start, in the folder of the control plane's files.
pub const CA_FILE: &str = "ca.pem";
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
    let [ca, cert, key] = [CA_FILE, "tls-cert.pem", "tls-key.pem"].map(|name| folder.join(name));
    match [&ca, &cert, &key].map(|path| path.exists()) {
        [true, true, true] => kept(&folder, &ca, &cert, &key),
        // The certificate's file holds the CA as well.
        [false, true, true] => {
            let chain = read(&cert)?;
            let pem = last_certificate(&chain).with_context(|| format!("{} holds no certificate", cert.display()))?;
            write(&ca, &pem, 0o644)?;
            tracing::warn!(ca = %ca.display(), "the file was missing and is made again from tls-cert.pem");
            kept(&folder, &ca, &cert, &key)
        }
        // A first start that did not get far: nobody has been given a CA yet.
        [false, false, _] => make(settings, &folder, &ca, &cert, &key),
        present => {
            let missing = [&ca, &cert, &key]
                .into_iter()
                .zip(present)
                .filter(|(_, present)| !present);
            let missing: Vec<_> = missing.map(|(path, _)| path.display().to_string()).collect();
            bail!(
                "{} is missing and the other files of the server's certificate are there: restore it from a backup. Only if \
                 there is none, remove ca.pem, tls-cert.pem and tls-key.pem from {}: a new CA is made then, which every proxy \
                 and zone must be given before it can connect again",
                missing.join(" and "),
                folder.display()
            )
        }
    }
}

fn kept(folder: &Path, ca: &Path, cert: &Path, key: &Path) -> Result<ServerTls> {
    let kept = ServerTls {
        ca_pem: read(ca)?,
        cert_pem: read(cert)?,
        key_pem: read(key)?,
        source: made_files(folder),
    };
    if let Some(from) = not_valid_before(&kept.certificate()?, OffsetDateTime::now_utc()) {
        // Not made anew: if it is now that the clock is wrong, every proxy and zone would lose its trust anchor for nothing.
        tracing::error!(
            %from,
            "the certificate in {} is valid only from a time that this host's clock has not reached: nobody can connect; set the \
             clock, or remove ca.pem, tls-cert.pem and tls-key.pem and give proxies and zones the new ca.pem",
            folder.display()
        );
    }
    Ok(kept)
}

/// When a certificate begins to be valid, if that is not yet.
fn not_valid_before(certificate: &[u8], now: OffsetDateTime) -> Option<OffsetDateTime> {
    meshspan_identity::valid_from(certificate).filter(|from| *from > now)
}

fn make(settings: &Settings, folder: &Path, ca: &Path, cert: &Path, key: &Path) -> Result<ServerTls> {
    fs::create_dir_all(folder).with_context(|| {
        format!(
            "cannot create {}: set KUMA_GENERAL_WORK_DIR to a writable folder",
            folder.display()
        )
    })?;
    let names = names(settings);
    let made = ServerCertificate::generate(&names, OffsetDateTime::now_utc(), LIFETIME)?;
    write(key, &made.key_pem, 0o600)?;
    write(cert, &made.cert_pem, 0o644)?;
    write(ca, &made.ca_pem, 0o644)?;
    tracing::info!(names = names.join(", "), ca = %ca.display(), "made a server certificate; proxies and zones verify it with this CA");
    Ok(ServerTls {
        ca_pem: made.ca_pem,
        cert_pem: made.cert_pem,
        key_pem: made.key_pem,
        source: made_files(folder),
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
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(folder: &Path) -> Settings {
        let mut settings = Settings::default();
        settings.general.work_dir = folder.to_str().unwrap().to_owned();
        settings
    }

    #[test]
    fn a_missing_file_never_costs_the_ca() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let path = |name: &str| folder.path().join(name);
        let made = made_at_first_start(&settings).unwrap();
        for missing in ["tls-key.pem", "tls-cert.pem"] {
            fs::rename(path(missing), path("aside")).unwrap();
            let error = made_at_first_start(&settings).err().unwrap().to_string();
            assert!(error.contains(missing) && error.contains("backup"), "{error}");
            assert_eq!(fs::read_to_string(path("ca.pem")).unwrap(), made.ca_pem);
            assert!(!path(missing).exists());
            fs::rename(path("aside"), path(missing)).unwrap();
        }
        // Without the CA's own file too, because others may have a copy of it.
        fs::remove_file(path("ca.pem")).unwrap();
        let again = made_at_first_start(&settings).unwrap();
        assert_eq!(again.ca_pem.trim(), made.ca_pem.trim());
        assert_eq!(again.cert_pem, made.cert_pem);
        fs::remove_file(path("ca.pem")).unwrap();
        fs::rename(path("tls-key.pem"), path("aside")).unwrap();
        assert!(made_at_first_start(&settings).is_err());
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tls-key.pem"), "half").unwrap();
        assert!(made_at_first_start(&settings(folder.path())).is_ok());
    }

    #[test]
    fn certificates_from_the_future_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let made = made_at_first_start(&settings(folder.path())).unwrap();
        let (certificate, now) = (made.certificate().unwrap(), OffsetDateTime::now_utc());
        assert_eq!(not_valid_before(&certificate, now), None);
        assert!(not_valid_before(&certificate, now - Duration::days(2)).is_some());
    }
}
