//! TLS certificates for the control plane's own servers (5678, 5682, 5685) when the operator gives none.
//!
//! Made as a CA and a leaf under it, not as one self-signed certificate: agents and Envoy refuse a trust anchor that is not
//! a CA (`spec/dataplane.md` §1.1). The CA's key is thrown away, so nothing else can ever be signed by it.

use std::fmt;
use std::net::IpAddr;

use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls_pki_types::ServerName;
use time::{Duration, OffsetDateTime};

use crate::ca::{ca_params, leaf_params};
use crate::certificate::{CertificateError, Validity};
use crate::pem;

/// A server's certificate and key, and the CA by which clients verify it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// What agents and zones are given as trust anchor.
    pub ca_pem: String,
    /// The leaf followed by the CA, so that the same file also works as trust anchor where operators copy that one.
    pub cert_pem: String,
    /// PKCS#8 ECDSA P-256. Secret.
    pub key_pem: String,
}

impl ServerCertificate {
    /// Makes a certificate for a server reached under these DNS names and IP addresses (IPv6 without brackets), valid from ten
    /// seconds before `now` to `lifetime` after it.
    ///
    /// # Errors
    /// When there is no name, a name is neither DNS name nor address, or the lifetime cannot be used.
    pub fn generate(names: &[String], now: OffsetDateTime, lifetime: Duration) -> Result<Self, CertificateError> {
        if names.is_empty() {
            return Err(CertificateError::NoServerName);
        }
        let validity = Validity::starting(now, lifetime)?;
        let ca = ca_params(subject("Meshspan control plane CA"), validity)?;
        let ca_key = KeyPair::generate()?;
        let ca_der = ca.self_signed(&ca_key)?;

        let mut leaf = leaf_params(subject("Meshspan control plane"), validity)?;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let san = server_name(name)?;
            if !leaf.subject_alt_names.contains(&san) {
                leaf.subject_alt_names.push(san);
            }
        }
        let key = KeyPair::generate()?;
        let leaf_der = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;

        let ca_pem = pem::encode("CERTIFICATE", ca_der.der());
        Ok(Self {
            cert_pem: pem::encode("CERTIFICATE", leaf_der.der()) + &ca_pem,
            ca_pem,
            key_pem: key.serialize_pem(),
        })
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn server_name(name: &str) -> Result<SanType, CertificateError> {
    let refused = || CertificateError::ServerName { name: name.to_owned() };
    match ServerName::try_from(name).map_err(|_| refused())? {
        ServerName::DnsName(dns) => Ok(SanType::DnsName(
            dns.as_ref().to_owned().try_into().map_err(|_| refused())?,
        )),
        ServerName::IpAddress(ip) => Ok(SanType::IpAddress(IpAddr::from(ip))),
        _ => Err(refused()),
    }
}
