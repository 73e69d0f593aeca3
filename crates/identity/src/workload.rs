//! The short-lived certificates by which proxies prove who they are.
//!
//! Source of fact: `spec/dataplane.md` §5.1. Keys are ECDSA P-256 instead of RSA 2048: both sides are Envoy, and making one costs a
//! thousandth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::ca::{Ca, leaf_params, uri_san};
use crate::certificate::{CertificateError, Validity};
use crate::spiffe::{SERVICE_TAG, SpiffeError, SpiffeId, kuma_uri};

/// A certificate is replaced at the latest after this part of its lifetime.
const RENEWAL_AGE: f64 = 0.75;

/// Whom a workload certificate names, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadRequest {
    /// One URI SAN each; at least one.
    pub spiffe_ids: BTreeSet<SpiffeId>,
    /// Tag name to all its values on the proxy; one `kuma://` URI SAN for each value.
    pub tags: BTreeMap<String, BTreeSet<String>>,
    pub now: OffsetDateTime,
    /// Counted from `now`; `dpCert.rotation.expiration` of the backend. At least one second.
    pub lifetime: Duration,
}

impl WorkloadRequest {
    /// The request for a Dataplane with these tags: a SPIFFE id for each value of `kuma.io/service`, and all tags.
    ///
    /// # Errors
    /// When the mesh or a service cannot be in a SPIFFE id.
    pub fn for_dataplane(
        mesh: &str,
        tags: BTreeMap<String, BTreeSet<String>>,
        now: OffsetDateTime,
        lifetime: Duration,
    ) -> Result<Self, SpiffeError> {
        let services = tags.get(SERVICE_TAG).into_iter().flatten();
        let spiffe_ids = services.map(|s| SpiffeId::new(mesh, s)).collect::<Result<_, _>>()?;
        Ok(Self {
            spiffe_ids,
            tags,
            now,
            lifetime,
        })
    }
}

/// A certificate with its key, as SDS hands them to Envoy.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkloadCert {
    /// The leaf, then intermediates if the CA has any.
    pub cert_chain_pem: String,
    /// PKCS#8. Secret.
    pub key_pem: String,
    /// The `now` of the request.
    pub issued_at: OffsetDateTime,
    /// Ten seconds before `issued_at`, in whole seconds.
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

/// A stretch of time in which a proxy keeps the certificate that was issued for it.
///
/// Time is divided into such periods for ever, so that a control plane that starts again knows, without having stored
/// anything, whether the certificate that a proxy holds is still the right one. A period is three quarters as long as a
/// certificate lives: one that was issued in it outlives it by a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationPeriod {
    /// Tells it from the other periods of the same proxy and lifetime.
    pub index: i128,
    /// When the certificate is replaced.
    pub end: OffsetDateTime,
}

impl RotationPeriod {
    /// The period of `now`. Give each proxy a hashed `jitter` in 0..1, by which its periods are shifted, so that proxies that
    /// connected together do not renew together; values outside are taken as the nearest bound.
    pub fn at(now: OffsetDateTime, lifetime: Duration, jitter: f64) -> Self {
        let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
        let length = Duration::saturating_seconds_f64(lifetime.as_seconds_f64() * RENEWAL_AGE);
        let length_nanos = length.whole_nanoseconds().max(1);
        let shift = Duration::saturating_seconds_f64(length.as_seconds_f64() * jitter).whole_nanoseconds();
        let index = (now.unix_timestamp_nanos() - shift).div_euclid(length_nanos);
        let end = (index + 1) * length_nanos + shift;
        Self {
            index,
            // Beyond the year 9999 only for lifetimes that are not renewed in practice.
            end: OffsetDateTime::from_unix_timestamp_nanos(end).unwrap_or_else(|_| now.saturating_add(length)),
        }
    }
}

impl fmt::Debug for WorkloadCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCert")
            .field("cert_chain_pem", &self.cert_chain_pem)
            .field("issued_at", &self.issued_at)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Ca {
    /// Issues a certificate with a new key for both sides of mutual TLS. The subject is empty: names are in the SANs.
    ///
    /// The certificate may outlive the CA, as in Kuma; handshakes fail from [`Ca::not_after`] on in any case.
    ///
    /// # Errors
    /// When the request names nobody, a name or the lifetime cannot be used, or the CA is not valid at `now`.
    pub fn issue_workload(&self, request: &WorkloadRequest) -> Result<WorkloadCert, CertificateError> {
        let (params, validity) = self.workload_params(request)?;
        let key = KeyPair::generate()?;
        Ok(WorkloadCert {
            cert_chain_pem: self.sign_leaf(&params, &key)?,
            key_pem: key.serialize_pem(),
            issued_at: request.now,
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }

    /// Whether a request can be fulfilled, without making a key.
    ///
    /// # Errors
    /// As [`Ca::issue_workload`].
    pub fn check_workload(&self, request: &WorkloadRequest) -> Result<(), CertificateError> {
        self.workload_params(request).map(drop)
    }

    fn workload_params(&self, request: &WorkloadRequest) -> Result<(CertificateParams, Validity), CertificateError> {
        if request.spiffe_ids.is_empty() {
            return Err(CertificateError::NoIdentity);
        }
        self.check_valid_at(request.now)?;
        let validity = Validity::starting(request.now, request.lifetime)?;
        let mut params = leaf_params(DistinguishedName::new(), validity)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for id in &request.spiffe_ids {
            params.subject_alt_names.push(uri_san(&id.to_string())?);
        }
        for (tag, values) in &request.tags {
            for value in values {
                params.subject_alt_names.push(uri_san(&kuma_uri(tag, value)?)?);
            }
        }
        Ok((params, validity))
    }
}
