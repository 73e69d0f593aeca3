//! TLS towards the REST API: which servers are trusted, and the client's own certificate.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use super::{ClientError, Endpoint};

/// Largest file of certificates or keys, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A connector for the certificates of the endpoint.
pub(super) fn connector(endpoint: &Endpoint) -> Result<TlsConnector, ClientError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    let builder = if endpoint.skip_verify {
        let verifier = Arc::new(AcceptAnything { provider });
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(roots(endpoint.ca_cert_file.as_deref())?)
    };
    let config = match (&endpoint.client_cert_file, &endpoint.client_key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates("client certificate", certificate)?;
            let key_der = PrivateKeyDer::from_pem_slice(&read("client key", key)?)
                .map_err(|error| file("client key", key, error))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|error| file("client certificate", certificate, error))?
        }
        _ => {
            let reason = "client certificate and client key must be given together".to_owned();
            return Err(ClientError::Tls(reason));
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Whether a failed connection failed because of the server's certificate.
pub(super) fn is_certificate_problem(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut current = Some(error);
    while let Some(error) = current {
        let io = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        let inside = io.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let direct = error.downcast_ref::<rustls::Error>();
        if matches!(inside.or(direct), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        current = error.source();
    }
    false
}

/// Errors that mean something else than what they say.
pub(super) fn explain(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use rustls::{CertificateError, Error};
    if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
        return Some("what answers there speaks no HTTP/1.1; if it speaks TLS, the address must start with https");
    }
    let io = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
    let inside = io.and_then(|inner| inner.downcast_ref::<Error>());
    match inside.or_else(|| error.downcast_ref::<Error>())? {
        Error::InvalidMessage(_) => {
            Some("what answers there speaks no TLS; if it is the plain API, the address must start with http")
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => Some(
            "its certificate was signed by another CA of the same name: every control plane has a ca.pem of its own",
        ),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("its certificate was signed by a CA that is not trusted here")
        }
        _ => None,
    }
}

fn roots(ca_cert_file: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca_cert_file {
        Some(path) => {
            for certificate in certificates("CA certificate", path)? {
                roots
                    .add(certificate)
                    .map_err(|error| file("CA certificate", path, error))?;
            }
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            // Stores of operating systems hold certificates that no library reads; the others still count.
            roots.add_parsable_certificates(native.certs);
        }
    }
    Ok(roots)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let bytes = read(what, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| file(what, path, error))?;
    if chain.is_empty() {
        return Err(file(what, path, "it holds no PEM block CERTIFICATE"));
    }
    Ok(chain)
}

/// A file of bounded size, for a name may lead anywhere.
fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let opened = File::open(path);
    opened
        .and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| file(what, path, error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(file(what, path, format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

fn file(what: &'static str, path: &Path, reason: impl ToString) -> ClientError {
    ClientError::File {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// `--skip-verify`: the handshake must be sound, the certificate may be anyone's.
#[derive(Debug)]
struct AcceptAnything {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused() {
        let refused = certificates("CA certificate", Path::new("/dev/zero")).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|reason| reason.contains("/dev/zero") && reason.contains("more than")));
    }
}
