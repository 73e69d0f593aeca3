//! The certificate authority of a mesh.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SanType,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use time::{Duration, OffsetDateTime};

use crate::ca_check::{CaProblem, parse, read_certificates, read_key, signer};
use crate::certificate::{CertificateError, Validity, random_serial};
use crate::pem;
use crate::rsa_key::{PKCS1_LABEL, generate_pkcs8, key_size, pkcs1_from_pkcs8};
use crate::spiffe::{SpiffeError, SpiffeId};

/// A CA certificate with its private key, ready to issue. Not `Clone`: share it behind an `Arc`.
pub struct Ca {
    cert_pem: String,
    key_pem: String,
    /// PEM of the certificates between the signer and its root, sent along with each leaf.
    intermediates_pem: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Makes the self-signed CA of a builtin mTLS backend (`spec/dataplane.md` §5.1, with a random serial instead of 0).
    ///
    /// `rsa_bits` is `conf.caCert.RSAbits`, `lifetime` is `conf.caCert.expiration`. Makes an RSA key, which takes
    /// from a tenth of a second (2048 bits) to a minute (8192): keep it off threads that others wait for.
    ///
    /// # Errors
    /// When the mesh name, the key size or the lifetime cannot be used, or no key can be made.
    pub fn generate_builtin(
        mesh: &str,
        rsa_bits: u32,
        now: OffsetDateTime,
        lifetime: Duration,
    ) -> Result<Self, CertificateError> {
        let id = SpiffeId::trust_domain_id(mesh)?;
        let size = key_size(rsa_bits).ok_or(CertificateError::RsaBits { bits: rsa_bits })?;
        let validity = Validity::starting(now, lifetime)?;
        let pkcs8 = generate_pkcs8(size)?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()), &PKCS_RSA_SHA256)?;

        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "Kuma");
        subject.push(DnType::OrganizationalUnitName, "Mesh");
        subject.push(DnType::CommonName, mesh);
        let mut params = ca_params(subject, validity)?;
        params.subject_alt_names = vec![uri_san(&id.to_string())?];
        let cert = params.self_signed(&key)?;

        let key_pem = match pkcs1_from_pkcs8(&pkcs8) {
            Some(pkcs1) => pem::encode(PKCS1_LABEL, &pkcs1),
            None => pem::encode("PRIVATE KEY", &pkcs8),
        };
        Ok(Self {
            cert_pem: pem::encode("CERTIFICATE", cert.der()),
            key_pem,
            intermediates_pem: String::new(),
            not_before: validity.not_before,
            not_after: validity.not_after,
            issuer: Issuer::new(params, key),
        })
    }

    /// Loads a CA from the PEM texts of its secrets or data sources. The first certificate signs; others are its chain.
    ///
    /// Checks only what issuing needs. Use [`check_provided_ca`](crate::check_provided_ca) before accepting one from a user.
    ///
    /// # Errors
    /// When a text is not what it should be or the key belongs to another certificate.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, CertificateError> {
        let certs = read_certificates(cert_pem.as_bytes()).map_err(CertificateError::Ca)?;
        let key = read_key(key_pem.as_bytes()).map_err(CertificateError::Ca)?;
        let Some(first) = certs.first() else {
            return Err(CertificateError::Ca(CaProblem::CertificatePem(
                "it is empty".to_owned(),
            )));
        };
        let issuer = signer(first, key).map_err(CertificateError::Ca)?;
        let validity = parse(0, first).map_err(CertificateError::Ca)?.validity().clone();

        let mut intermediates_pem = String::new();
        for (index, der) in certs.iter().enumerate() {
            let cert = parse(index, der).map_err(CertificateError::Ca)?;
            // Roots are trust anchors: peers have them already and would ignore ours.
            if cert.subject() != cert.issuer() {
                intermediates_pem.push_str(&pem::encode("CERTIFICATE", der));
            }
        }
        Ok(Self {
            cert_pem: cert_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            intermediates_pem,
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
            issuer,
        })
    }

    /// The certificate or chain: what peers get as trust bundle, and what the `cert` secret holds.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The private key, what the `key` secret holds. Secret.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// End of the signing certificate's validity; nothing it signed is accepted after that.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Signs a leaf certificate, and returns it as PEM followed by the intermediates.
    pub(crate) fn sign_leaf(&self, params: &CertificateParams, key: &KeyPair) -> Result<String, CertificateError> {
        let cert = params.signed_by(key, &self.issuer)?;
        Ok(pem::encode("CERTIFICATE", cert.der()) + &self.intermediates_pem)
    }

    /// Refuses to issue what no peer would accept.
    pub(crate) fn check_valid_at(&self, now: OffsetDateTime) -> Result<(), CertificateError> {
        if now < self.not_before {
            return Err(CertificateError::CaNotYetValid { from: self.not_before });
        }
        if now > self.not_after {
            return Err(CertificateError::CaExpired { at: self.not_after });
        }
        Ok(())
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("cert_pem", &self.cert_pem)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// What every CA certificate made here has: the right to sign certificates and revocation lists, and no other.
pub(crate) fn ca_params(subject: DistinguishedName, validity: Validity) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(random_serial()?);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// What every leaf certificate made here has: it signs handshakes, and says explicitly that it is no CA.
pub(crate) fn leaf_params(
    subject: DistinguishedName,
    validity: Validity,
) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(random_serial()?);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A URI as subject alternative name.
pub(crate) fn uri_san(uri: &str) -> Result<SanType, SpiffeError> {
    let text = uri.to_owned().try_into();
    Ok(SanType::URI(
        text.map_err(|_| SpiffeError::Scheme { uri: uri.to_owned() })?,
    ))
}
