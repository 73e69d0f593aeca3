//! What makes a certificate and key usable as the CA of a mesh.
//!
//! The rules for provided CAs are those of `spec/resources.md` §2.1 (X509-SVID §4: a signing certificate is a CA, may sign
//! certificates and does nothing else), plus what Kuma finds out only at run time: a key of another certificate,
//! an expired certificate, a subject that cannot be copied.

use std::collections::BTreeSet;

use rcgen::{Issuer, KeyPair, SigningKey};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pem;

/// One thing that is wrong with a CA. `index` counts the certificates of the PEM text from 0; the first one signs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaProblem {
    #[error("certificate is not readable PEM: {0}")]
    CertificatePem(String),
    #[error("private key is not readable: {0}")]
    Key(String),
    #[error("private key does not belong to the first certificate: give the pair that was made together")]
    KeyMismatch,
    #[error("not an X.509 certificate: {reason}")]
    NotX509 { index: usize, reason: String },
    #[error("basic constraint CA must be true: give a CA certificate, not that of a server or client")]
    NotCa { index: usize },
    #[error("key usage must include keyCertSign")]
    CannotSign { index: usize },
    #[error("key usage must not include keyAgreement")]
    KeyAgreement { index: usize },
    #[error("expired at {at}: give a certificate that is still valid")]
    Expired { index: usize, at: OffsetDateTime },
    #[error("valid from {from} only: wait, or check the clock of this host")]
    NotYetValid { index: usize, from: OffsetDateTime },
    #[error("subject cannot be copied into issued certificates: {reason}")]
    Subject { index: usize, reason: String },
}

impl CaProblem {
    /// The field at fault, relative to the backend's `conf`: `cert`, `cert[<index>]` or `key`.
    pub fn field(&self) -> String {
        match self {
            Self::CertificatePem(_) => "cert".to_owned(),
            Self::Key(_) | Self::KeyMismatch => "key".to_owned(),
            Self::NotX509 { index, .. }
            | Self::NotCa { index }
            | Self::CannotSign { index }
            | Self::KeyAgreement { index }
            | Self::Expired { index, .. }
            | Self::NotYetValid { index, .. }
            | Self::Subject { index, .. } => format!("cert[{index}]"),
        }
    }
}

/// Everything that is wrong with a CA that a user provides; empty when it can be used at `now`.
pub fn check_provided_ca(cert_pem: &[u8], key_pem: &[u8], now: OffsetDateTime) -> Vec<CaProblem> {
    let mut problems = Vec::new();
    let key = read_key(key_pem).map_err(|p| problems.push(p)).ok();
    let certs = match read_certificates(cert_pem) {
        Ok(certs) => certs,
        Err(problem) => {
            problems.push(problem);
            return problems;
        }
    };
    for (index, der) in certs.iter().enumerate() {
        match parse(index, der) {
            Ok(cert) => check_certificate(index, &cert, now, &mut problems),
            Err(problem) => problems.push(problem),
        }
    }
    if let (Some(der), Some(key)) = (certs.first(), key) {
        // A certificate that cannot be parsed is in the list already.
        let problem = signer(der, key).err();
        problems.extend(problem.filter(|p| !matches!(p, CaProblem::NotX509 { .. })));
    }
    problems
}

fn check_certificate(index: usize, cert: &X509Certificate<'_>, now: OffsetDateTime, problems: &mut Vec<CaProblem>) {
    let usage = cert.key_usage().ok().flatten().map(|u| u.value);
    if !cert.is_ca() {
        problems.push(CaProblem::NotCa { index });
    }
    if !usage.is_some_and(|u| u.key_cert_sign()) {
        problems.push(CaProblem::CannotSign { index });
    }
    if usage.is_some_and(|u| u.key_agreement()) {
        problems.push(CaProblem::KeyAgreement { index });
    }
    let from = cert.validity().not_before.to_datetime();
    let at = cert.validity().not_after.to_datetime();
    if now < from {
        problems.push(CaProblem::NotYetValid { index, from });
    } else if now > at {
        problems.push(CaProblem::Expired { index, at });
    }
}

/// The first certificate and its key as issuer, if issuing can work at all; does not look at dates and usages.
pub(crate) fn signer<S: SigningKey>(der: &[u8], key: S) -> Result<Issuer<'static, S>, CaProblem> {
    let cert = parse(0, der)?;
    if key.subject_public_key_info() != cert.public_key().raw {
        return Err(CaProblem::KeyMismatch);
    }
    let subject = |reason: &str| CaProblem::Subject {
        index: 0,
        reason: reason.to_owned(),
    };
    // rcgen keeps one value for each attribute. It would go on, and name an issuer that does not exist.
    let mut seen = BTreeSet::new();
    for part in cert.subject().iter() {
        let mut attributes = part.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return Err(subject("give a CA with one attribute in each part of its subject"));
        };
        if !seen.insert(attribute.attr_type().to_id_string()) {
            return Err(subject("give a CA that has each attribute of its subject only once"));
        }
    }
    Issuer::from_ca_cert_der(&CertificateDer::from(der), key)
        .map_err(|_| subject("give a CA whose subject is plain text in a standard encoding"))
}

/// The DER certificates of a PEM text; at least one.
pub(crate) fn read_certificates(cert_pem: &[u8]) -> Result<Vec<Vec<u8>>, CaProblem> {
    let blocks = pem::decode(cert_pem).map_err(CaProblem::CertificatePem)?;
    let certs: Vec<_> = blocks
        .into_iter()
        .filter(|b| b.label == "CERTIFICATE")
        .map(|b| b.der)
        .collect();
    if certs.is_empty() {
        return Err(CaProblem::CertificatePem(
            "no block with the label CERTIFICATE".to_owned(),
        ));
    }
    Ok(certs)
}

/// The private key of a PEM text: PKCS#8, PKCS#1 or SEC1, RSA, ECDSA (P-256, P-384, P-521) or Ed25519.
pub(crate) fn read_key(key_pem: &[u8]) -> Result<KeyPair, CaProblem> {
    let blocks = pem::decode(key_pem).map_err(CaProblem::Key)?;
    // openssl writes "EC PARAMETERS" before an "EC PRIVATE KEY".
    let block = blocks.iter().find(|b| b.label.ends_with("PRIVATE KEY"));
    let block = block.ok_or_else(|| CaProblem::Key("no block with the label PRIVATE KEY".to_owned()))?;
    KeyPair::try_from(block.der.as_slice()).map_err(|_| {
        CaProblem::Key("give an unencrypted RSA, ECDSA or Ed25519 key as PKCS#8, PKCS#1 or SEC1".to_owned())
    })
}

pub(crate) fn parse(index: usize, der: &[u8]) -> Result<X509Certificate<'_>, CaProblem> {
    match X509Certificate::from_der(der) {
        Ok((_, cert)) => Ok(cert),
        Err(e) => Err(CaProblem::NotX509 {
            index,
            reason: e.to_string(),
        }),
    }
}
